"""A sum that its survivors will not open any more is left: the study gets on with the sites that are there, and pays once a round."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aggregator import left_sums
from aggregator.checkpoints import CheckpointStore
from aggregator.report.facts import convergence
from aggregator.report.robustness import unopened
from aggregator.run_records import round_record
from aggregator.secure_sums import SecureSums
from federation.errors import QuorumError
from federation.protocol.messages import Envelope, EvaluateRequest, SecureSumRequest, TrainRequest
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.ledger.ledger import Ledger
from tests.masked_study import SITES, Lossy, agents, masked_manifest, run
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
    assert all(entry.metrics for entry in (result.rounds[0], *result.rounds[2:]))
    assert not any(entry.unopened for entry in result.rounds)
    asked = {
        request.header.round_number for _, request, _ in transport.seen if isinstance(request.header, EvaluateRequest)
    }
    assert asked == set(range(1, ROUNDS + 1))


@pytest.mark.parametrize("dies_in", ["agree_again", "write_durably", "use"])
def test_a_crash_while_a_sum_is_left_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    """Before the keys, before it is written down, and before the new keys are in use."""
    study = _study(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert _runs(study, tmp_path, transport, left_sums.RUNS - 1) is None
    place = left_sums if dies_in == "write_durably" else SecureSums
    whole, died = getattr(place, dies_in), []

    def dying(*words: object) -> object:
        if not died and not (dies_in == "write_durably" and str(words[0]).endswith(".in_vain")):
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
    again = {
        header.round_number for _, request, _ in transport.seen if isinstance(header := request.header, TrainRequest)
    }
    assert again == ({4, 5, 6} if not damage else {3, 4, 5, 6})
    np.testing.assert_array_equal(result.parameters, calm.parameters)
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("*.opened.*"))
