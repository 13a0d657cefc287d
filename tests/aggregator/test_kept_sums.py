"""What is kept of a masked sum serves a restart, the ledgers' witnesses, and nobody else."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest

from aggregator import left_sums
from aggregator.asked_sums import read_record
from aggregator.checkpoints import CheckpointStore, CoordinatorState
from federation.errors import CohortiumError
from federation.protocol.messages import Envelope, EvaluateRequest, TrainRequest
from site_client.ledger.ledger import Ledger
from tests.masked_study import MASKED, SITES, Lossy, agents, run
from tests.small_study import private
from tests.vanishing_sites import ROUNDS, South, is_unmasking, runs, six_rounds


@pytest.mark.parametrize("damage", ["", "numbers", "record"])
def test_a_sum_that_was_opened_is_not_asked_for_again(tmp_path: Path, damage: str) -> None:
    """The coordinator dies between the opened sum and the commitment of its round; the survivors are needed only if its file is."""
    study = six_rounds(tmp_path, evaluation={"release": "sum"})
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
    assert any(is_unmasking(asked, "train", 3) for _, asked, _ in transport.seen) == bool(damage)
    np.testing.assert_array_equal(result.parameters, calm.parameters)
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("*.opened.*"))


def test_as_many_survivors_as_open_a_sum_open_it_after_a_restart(tmp_path: Path) -> None:
    """All four contributed, two answers were lost, and one of the four is gone for good: the other three are enough."""
    study, is_later = six_rounds(tmp_path), False

    def loses(site: str, request: Envelope) -> bool:
        if is_later:
            return site == "west"
        return site in ("south", "west") and is_unmasking(request, "train", 2)

    transport = Lossy(agents(tmp_path, study), loses=loses)
    assert runs(study, tmp_path, transport, 1) is None
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
    study = six_rounds(tmp_path, privacy=private(epsilon=8.0, steps=ROUNDS))
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert runs(study, tmp_path, transport, left_sums.RUNS - 1) is None
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
    study = six_rounds(tmp_path, privacy=private(epsilon=8.0, steps=ROUNDS))
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
    study = six_rounds(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert runs(study, tmp_path, transport, left_sums.RUNS) is not None
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
    first, second = six_rounds(tmp_path), six_rounds(tmp_path, title="Another study")
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


def test_files_of_others_in_a_sites_folder_disturb_nothing(tmp_path: Path) -> None:
    study = six_rounds(tmp_path)
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
