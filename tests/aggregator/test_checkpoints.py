import json

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from federation.errors import CheckpointError
from federation.study.result import RoundResult


def result(number):
    return RoundResult(
        round_number=number, contributors=("a", "b"), dropouts={"c": "deadline"}, metrics={"auroc": 0.5},
        site_metrics={"a": {"auroc": 0.6}}, epsilon_spent={"a": 0.1}, update_norm=1.0, model_digest="sha256:x",
        seconds=0.1,
    )  # fmt: skip


def states(number):
    history = tuple(result(n) for n in range(1, number + 1))
    for n in range(1, number + 1):
        yield CoordinatorState(
            round_number=n, parameters=np.arange(3.0) / n, server={"m": np.full(3, 1 / 3) * n},
            rounds_contributed={"a": n}, history=history[:n],
        )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path, study="sha256:s")
    for state in states(4):
        store.save(state)
    return store


def test_a_fresh_folder_has_no_checkpoint(tmp_path):
    assert CheckpointStore(tmp_path / "none", study="s").latest() is None


def test_latest_is_what_was_saved_bit_for_bit(store):
    latest, saved = store.latest(), list(states(4))[-1]
    assert latest.parameters.tobytes() == saved.parameters.tobytes()
    assert latest.server["m"].tobytes() == saved.server["m"].tobytes()
    assert latest.history == saved.history
    assert latest.rounds_contributed == {"a": 4}


def test_only_the_last_models_are_kept_but_all_results(store, tmp_path):
    assert len(list(tmp_path.glob("round-*.safetensors"))) == 2
    assert len(list(tmp_path.glob("round-*.json"))) == 4


def test_a_model_without_its_record_does_not_count(store, tmp_path):
    (tmp_path / "round-000004.json").unlink()
    assert store.latest().round_number == 3


def test_another_study_is_refused(store, tmp_path):
    with pytest.raises(CheckpointError, match="of study other"):
        CheckpointStore(tmp_path, study="other").latest()


def test_a_damaged_model_is_refused(store, tmp_path):
    path = tmp_path / "round-000004.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="round 4"):
        store.latest()


def test_a_changed_last_record_is_noticed_by_its_signature(store, tmp_path):
    path = tmp_path / "round-000004.json"
    record = json.loads(path.read_text())
    record["rounds_contributed"]["a"] = 3
    path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="signature"):
        store.latest()


def test_checkpoints_of_another_coordinator_are_refused(store, tmp_path):
    key = tmp_path / "coordinator.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_bytes(bytes(32))
    with pytest.raises(CheckpointError, match="signature"):
        store.latest()
    key.unlink()
    with pytest.raises(CheckpointError, match="key"):
        store.latest()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_changed_or_absent_record_breaks_the_chain(store, tmp_path, number):
    path = tmp_path / f"round-{number:06d}.json"
    record = json.loads(path.read_text())
    record["result"]["metrics"]["auroc"] = 0.99
    path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="chain"):
        store.latest()
    path.unlink()
    with pytest.raises(CheckpointError, match="chain"):
        store.latest()
