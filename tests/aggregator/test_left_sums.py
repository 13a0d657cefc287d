"""A sum that its survivors will not open any more is left: the study gets on with the sites that are there, and pays once a round."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aggregator import left_sums
from aggregator.asked_sums import read_record
from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.report.facts import convergence
from aggregator.report.robustness import unopened
from aggregator.run_records import round_record
from aggregator.secure_sums import SecureSums
from federation.errors import CohortiumError, QuorumError
from federation.protocol.messages import Envelope, EvaluateRequest, SecureSumRequest, TrainRequest
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.ledger.ledger import Ledger
from tests.masked_study import MASKED, SITES, Lossy, agents, masked_manifest, run
from tests.small_study import private

Loses = Callable[[str, Envelope], bool]
ROUNDS = 6


def _study(folder: Path, **changes: object) -> StudyManifest:
    schedule = {"rounds": ROUNDS, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.1}}
    return masked_manifest(folder, **({"schedule": schedule, "evaluation": {"release": "none"}} | changes))


def _is_unmasking(request: Envelope, purpose: str, number: int) -> bool:
    header = request.header
    is_it = isinstance(header, SecureSumRequest) and header.kind == "unmask_request/1"
    return is_it and (header.batch.purpose, header.round_number) == (purpose, number)


class South:
    """South contributes to every sum until one of them asks for its shares; from then on it is gone, and west is back.

    Args:
        purpose: Of the sums in question.
        numbers: Their rounds.
        also_gone: Sites that are gone with it.
    """

    def __init__(
        self, purpose: str = "train", numbers: tuple[int, ...] = (2,), also_gone: tuple[str, ...] = ()
    ) -> None:
        self.purpose, self.numbers, self.also_gone = purpose, numbers, also_gone
        self.is_gone = False

    def __call__(self, site: str, request: Envelope) -> bool:
        for number in self.numbers:
            self.is_gone |= site == "south" and _is_unmasking(request, self.purpose, number)
        if self.is_gone:
            return site == "south" or site in self.also_gone
        return site == "west"


def _runs(study: StudyManifest, folder: Path, transport: Lossy, number: int) -> StudyResult | None:
    """The result, if there is one within so many runs."""
    for _ in range(number):
        try:
            return run(study, folder, transport)
        except QuorumError:
            continue
    return None


def test_a_round_whose_survivors_are_gone_is_left(tmp_path: Path) -> None:
    study = _study(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert _runs(study, tmp_path, transport, left_sums.RUNS - 1) is None
    result = run(study, tmp_path, transport)
    left = result.rounds[1]
    assert left.contributors == ()
    assert "east, north, south" in left.unopened
    assert set(left.exclusions) == {"east", "north", "south"}
    assert left.model_digest == result.rounds[0].model_digest
    assert left.update_norm == 0.0
    assert [set(entry.contributors) for entry in result.rounds[2:]] == [{"east", "north", "west"}] * (ROUNDS - 2)
    assert not any(entry.unopened for entry in (result.rounds[0], *result.rounds[2:]))
    assert round_record(left).metrics["round/unopened"] == 1.0
    assert unopened(convergence(result)).startswith("Without an update: round 2 (")
    assert not unopened(convergence(result)[2:])


def test_nobody_is_asked_for_a_sum_that_was_left(tmp_path: Path) -> None:
    study = _study(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert _runs(study, tmp_path, transport, left_sums.RUNS) is not None
    after = [header for _, request, _ in transport.seen if isinstance(header := request.header, TrainRequest)]
    numbers = [header.round_number for header in after]
    assert sorted(numbers) == numbers  # no request of round 2 after one of round 3
    attempts = {header.batch.attempt for header in after if header.batch is not None and header.round_number == 2}
    assert attempts == {0}


def test_what_was_computed_for_it_is_paid_for_once(tmp_path: Path) -> None:
    study = _study(tmp_path, privacy=private(epsilon=8.0, steps=ROUNDS))
    transport = Lossy(agents(tmp_path, study), loses=South())
    result = _runs(study, tmp_path, transport, left_sums.RUNS)
    assert result is not None
    for site in ("east", "north", "south"):
        assert result.rounds[1].epsilon_spent[site] > result.rounds[0].epsilon_spent[site]
        with Ledger.open(
            tmp_path / "sites" / site / "ledger.sqlite", clock=lambda: dt.datetime.now(tz=dt.UTC)
        ) as ledger:
            assert ledger.verify().intact
            assert ledger.find(study.digest, "train/2") is not None
    assert result.rounds[1].epsilon_spent["west"] == result.rounds[0].epsilon_spent["west"]
    states = CheckpointStore(tmp_path / "coordinator", study=study.digest).latest()
    assert states is not None
    assert states.rounds_contributed == {"east": ROUNDS, "north": ROUNDS, "south": 2, "west": ROUNDS - 2}


def test_with_too_few_sites_for_another_sum_it_is_not_left(tmp_path: Path) -> None:
    study = _study(tmp_path)
    south = South(also_gone=("east",))
    transport = Lossy(agents(tmp_path, study), loses=south)
    assert _runs(study, tmp_path, transport, 3 * left_sums.RUNS) is None
    assert not list((tmp_path / "coordinator").rglob("*.left"))
    transport.loses = lambda *_: False  # everybody is back: the very sum is opened
    result = run(study, tmp_path, transport)
    assert set(result.rounds[1].contributors) == {"east", "north", "south"}
    assert not any(entry.unopened for entry in result.rounds)


def test_keys_that_were_begun_in_vain_do_not_bind_the_next_try(tmp_path: Path) -> None:
    """Keys of a try name east, which is gone before it deals shares; the next try begins with a list of its own."""
    study, is_back = _study(tmp_path), False
    south = South()

    def loses(site: str, request: Envelope) -> bool:
        is_lost = south(site, request)
        header = request.header
        is_agreed = isinstance(header, SecureSumRequest) and header.kind == "key_agreement_request/1"
        return is_lost or (south.is_gone and not is_back and site == "east" and not is_agreed)

    transport = Lossy(agents(tmp_path, study), loses=loses)
    assert _runs(study, tmp_path, transport, left_sums.RUNS + 1) is None
    is_back = True
    result = run(study, tmp_path, transport)
    assert [entry.round_number for entry in result.rounds if entry.unopened] == [2]


@pytest.mark.parametrize("number", [1, 2, ROUNDS])
def test_any_round_may_be_left(tmp_path: Path, number: int) -> None:
    """The first, one at the end of its keys' rounds, and the last."""
    study = _study(tmp_path)
    result = _runs(study, tmp_path, Lossy(agents(tmp_path, study), loses=South(numbers=(number,))), left_sums.RUNS)
    assert result is not None
    assert [entry.round_number for entry in result.rounds if entry.unopened] == [number]
    assert len(result.rounds) == ROUNDS


def test_a_few_rounds_in_a_row_are_left_and_no_more(tmp_path: Path) -> None:
    """Whoever is asked for shares is gone for that round, every time: that is no bad network."""
    study = _study(tmp_path)

    def loses(site: str, request: Envelope) -> bool:
        header = request.header
        is_asked = isinstance(header, SecureSumRequest) and header.kind == "unmask_request/1"
        return is_asked and header.round_number is not None and header.round_number >= 2 and site in ("south", "west")

    transport = Lossy(agents(tmp_path, study), loses=loses)
    assert _runs(study, tmp_path, transport, 10 * left_sums.RUNS) is None
    left = sorted(path.stem for path in (tmp_path / "coordinator").rglob("*.left"))
    assert left == ["train-000002", "train-000003", "train-000004"]
    transport.loses = lambda *_: False
    result = run(study, tmp_path, transport)
    assert [entry.round_number for entry in result.rounds if entry.unopened] == [2, 3, 4]
    assert set(result.rounds[4].contributors) == set(SITES)


def test_an_evaluation_may_be_left_and_the_model_is_as_ever(tmp_path: Path) -> None:
    study = _study(tmp_path, evaluation={"release": "sum"})
    transport = Lossy(agents(tmp_path, study), loses=South(purpose="evaluate"))
    result = _runs(study, tmp_path, transport, left_sums.RUNS)
    assert result is not None
    assert not result.rounds[1].metrics
    assert "never opened" in result.rounds[1].unevaluated
    assert unopened(convergence(result)).startswith("Without an evaluation: round 2 (")
    assert round_record(result.rounds[1]).metrics["round/unevaluated"] == 1.0
    assert all(entry.metrics for entry in (result.rounds[0], *result.rounds[2:]))
    assert not any(entry.unopened for entry in result.rounds)
    asked = {
        request.header.round_number for _, request, _ in transport.seen if isinstance(request.header, EvaluateRequest)
    }
    assert asked == set(range(1, ROUNDS + 1))


@pytest.mark.parametrize("dies_in", ["agree_again", "write_record", "use"])
def test_a_crash_while_a_sum_is_left_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    """Before the keys, before it is written down, and before the new keys are in use."""
    study = _study(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert _runs(study, tmp_path, transport, left_sums.RUNS - 1) is None
    place = left_sums if dies_in == "write_record" else SecureSums
    whole, died = getattr(place, dies_in), []

    def dying(*words: object) -> object:
        if not died:
            died.append(True)
            raise KeyboardInterrupt
        return whole(*words)

    monkeypatch.setattr(place, dies_in, dying)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path, transport)
    result = _runs(study, tmp_path, transport, left_sums.RUNS)
    assert died
    assert result is not None
    assert [entry.round_number for entry in result.rounds if entry.unopened] == [2]
    assert [set(entry.contributors) for entry in result.rounds[2:]] == [{"east", "north", "west"}] * (ROUNDS - 2)


@pytest.mark.parametrize("damage", ["", "numbers", "record"])
def test_a_sum_that_was_opened_is_not_asked_for_again(tmp_path: Path, damage: str) -> None:
    """The coordinator dies between the opened sum and the commitment of its round; the survivors are needed only if its file is."""
    study = _study(tmp_path, evaluation={"release": "sum"})
    calm = run(study, tmp_path / "calm", Lossy(agents(tmp_path / "calm", study)))
    dies = True

    def loses(_: str, request: Envelope) -> bool:
        if dies and isinstance(request.header, EvaluateRequest) and request.header.round_number == 3:
            raise KeyboardInterrupt
        return False

    transport = Lossy(agents(tmp_path / "lossy", study), loses=loses)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "lossy", transport)
    folder = tmp_path / "lossy" / "coordinator" / "secure"
    if damage:
        path = folder / {"numbers": "train.opened.safetensors", "record": "train.opened.json"}[damage]
        path.write_bytes(path.read_bytes()[:-1])
    dies, transport.seen = False, []
    result = run(study, tmp_path / "lossy", transport)
    trained = {
        header.round_number for _, asked, _ in transport.seen if isinstance(header := asked.header, TrainRequest)
    }
    assert trained == {4, 5, 6}
    assert any(_is_unmasking(asked, "train", 3) for _, asked, _ in transport.seen) == bool(damage)
    np.testing.assert_array_equal(result.parameters, calm.parameters)
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("*.opened.*"))


def test_as_many_survivors_as_open_a_sum_open_it_after_a_restart(tmp_path: Path) -> None:
    """All four contributed, two answers were lost, and one of the four is gone for good: the other three are enough."""
    study, is_later = _study(tmp_path), False

    def loses(site: str, request: Envelope) -> bool:
        if is_later:
            return site == "west"
        return site in ("south", "west") and _is_unmasking(request, "train", 2)

    transport = Lossy(agents(tmp_path, study), loses=loses)
    assert _runs(study, tmp_path, transport, 1) is None
    is_later, transport.seen = True, []
    result = run(study, tmp_path, transport)
    assert not any(entry.unopened for entry in result.rounds)
    assert set(result.rounds[1].contributors) == set(SITES)
    numbers = {
        header.round_number for _, asked, _ in transport.seen if isinstance(header := asked.header, TrainRequest)
    }
    assert 2 not in numbers  # nobody trains again for a sum that is there


@pytest.mark.parametrize("damage", ["", "masked"])
def test_heads_of_ledgers_are_witnessed_whatever_became_of_the_sum(tmp_path: Path, damage: str) -> None:
    """Without the head of a round that was left, a site that restored its ledger from before it could spend it again."""
    study = _study(tmp_path, privacy=private(epsilon=8.0, steps=ROUNDS))
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert _runs(study, tmp_path, transport, left_sums.RUNS - 1) is None
    if damage:
        (tmp_path / "coordinator" / "secure" / "train.masked").write_bytes(b"other bytes")
    assert run(study, tmp_path, transport)
    record = json.loads((tmp_path / "coordinator" / "round-000002.json").read_bytes())
    for site in ("east", "north", "south"):
        with Ledger.open(
            tmp_path / "sites" / site / "ledger.sqlite", clock=lambda: dt.datetime.now(tz=dt.UTC)
        ) as ledger:
            found = ledger.find(study.digest, "train/2")
        assert found is not None
        earlier = json.loads((tmp_path / "coordinator" / "round-000001.json").read_bytes())["heads"][site]
        assert record["heads"][site]["sequence"] > earlier["sequence"]


def test_heads_are_those_of_an_undisturbed_study_after_a_crash_before_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _study(tmp_path, privacy=private(epsilon=8.0, steps=ROUNDS))
    run(study, tmp_path / "calm", Lossy(agents(tmp_path / "calm", study)))
    transport, whole, died = Lossy(agents(tmp_path / "lossy", study)), CheckpointStore.save, []

    def dying(self: CheckpointStore, state: CoordinatorState) -> None:
        if state.round_number == 3 and not died:
            died.append(True)
            raise KeyboardInterrupt
        whole(self, state)

    monkeypatch.setattr(CheckpointStore, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "lossy", transport)
    run(study, tmp_path / "lossy", transport)
    places = [tmp_path / name / "coordinator" / "round-000003.json" for name in ("calm", "lossy")]
    calm, lossy = (json.loads(path.read_bytes())["heads"] for path in places)
    assert {site: head["sequence"] for site, head in lossy.items()} == {
        site: head["sequence"] for site, head in calm.items()
    }


def test_every_changed_byte_of_a_kept_sum_is_noticed(tmp_path: Path) -> None:
    """The sum of a round is taken from its files as they were written, or asked for again; records of what was asked must be whole."""
    study = _study(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert _runs(study, tmp_path, transport, left_sums.RUNS) is not None
    folder = tmp_path / "coordinator" / "secure"
    for name in ("train.opened.json", "train-000002.left", "train-000002-0.asked"):
        content = (folder / name).read_bytes()
        for place in range(0, len(content), 7):
            changed = bytearray(content)
            changed[place] ^= 1
            (folder / name).write_bytes(changed)
            assert read_record(folder / name) is None
        (folder / name).write_bytes(content)
        assert read_record(folder / name) is not None


def test_a_sum_of_another_study_in_the_same_folder_is_not_taken(tmp_path: Path) -> None:
    first, second = _study(tmp_path), _study(tmp_path, title="Another study")
    dies = True

    def loses(_: str, request: Envelope) -> bool:
        if dies and isinstance(request.header, TrainRequest) and request.header.round_number == 2:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        run(first, tmp_path, Lossy(agents(tmp_path / "first", first), loses=loses))
    for path in (tmp_path / "coordinator").glob("round-*"):
        path.unlink()
    dies = False
    transport = Lossy(agents(tmp_path / "second", second), loses=loses)
    with pytest.raises(CohortiumError):
        run(second, tmp_path, transport)  # the keys in the folder are bound to the first study's terms
    assert not (tmp_path / "coordinator" / "round-000001.json").exists()


def test_evaluations_between_rounds_without_any_are_left_a_few_times_and_no_more(tmp_path: Path) -> None:
    schedule = {
        "rounds": 12,
        "local_steps": 1,
        "batch_size": 16,
        "optimiser": {"learning_rate": 0.1},
        "evaluate_every": 2,
    }
    study = _study(tmp_path, schedule=schedule, evaluation={"release": "sum"})

    def loses(site: str, request: Envelope) -> bool:
        header = request.header
        is_asked = isinstance(header, SecureSumRequest) and header.kind == "unmask_request/1"
        return is_asked and header.batch.purpose == "evaluate" and site in ("south", "west")

    assert _runs(study, tmp_path, Lossy(agents(tmp_path, study), loses=loses), 10 * left_sums.RUNS) is None
    left = sorted(path.stem for path in (tmp_path / "coordinator").rglob("*.left"))
    assert left == ["evaluate-000002", "evaluate-000004", "evaluate-000006"]


def test_files_of_others_in_a_sites_folder_disturb_nothing(tmp_path: Path) -> None:
    study = _study(tmp_path)
    found = agents(tmp_path, study)
    folder = tmp_path / "sites" / "east" / "secure"
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        "train-round-000001.phase~",
        "train-round-000001-0.contribution.bak",
        "train-notes.txt",
        "train-x-000001-1-0.deal",
    )
    for name in names:
        (folder / name).write_bytes(b"")
    result = run(study, tmp_path, Lossy(found))
    assert all(set(entry.contributors) == set(SITES) for entry in result.rounds)
    assert all((folder / name).exists() for name in names)
    last = ROUNDS - (ROUNDS - 1) % MASKED["rounds_per_agreement"]
    assert sorted(folder.glob("train-*.contribution")) == [folder / f"train-round-{ROUNDS:06d}-0.contribution"]
    assert {path.name.split("-")[1] for path in folder.glob("train-[0-9]*.hold")} == {f"{last:06d}"}
