"""The held-out gate in a study: a round that ruins the model is rolled back, and the study goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.run_records import round_record
from aggregator.tracking import NullTracker
from experiments.progress import round_note
from federation.errors import ConfigurationError
from federation.study.result import StudyResult
from site_client import masked_replies
from tests.masked_study import MASKED, Lossy, agents, masked_manifest, site_data
from tests.masked_study import SITES as NAMES

TRUTH = np.array([2.0, -3.0, 0.5, 0.0, 0.0])


def loss(parameters: np.ndarray, _: object) -> float:
    """Mean log loss of a linear model on the sites' test patients."""
    tests = [site_data(site).test for site in NAMES]
    features = np.concatenate([test.features for test in tests]).astype(np.float64)
    outcomes = np.concatenate([test.outcomes for test in tests])
    score = features @ parameters[:4].astype(np.float64) + float(parameters[4])
    return float(np.mean(np.logaddexp(0, score) - outcomes * score))


def _run(folder: Path, *, bound: float | None, calls: list[float] | None = None) -> StudyResult:
    study = masked_manifest(
        folder,
        aggregation={"mode": "masked", "quorum": 3, "masked": MASKED | {"held_out_bound": bound}},
        evaluation={"release": "none"},
    )

    def held_out(parameters: np.ndarray, prepared: object) -> float:
        found = loss(parameters, prepared)
        if calls is not None:
            calls.append(found)
        return found

    return run_study(
        study,
        Lossy(agents(folder, study)),
        NullTracker(),
        checkpoints=CheckpointStore(folder / "coordinator", study=study.digest),
        clock=iter(range(1000)).__next__,
        on_round=lambda _: None,
        held_out=held_out,
    )


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In round 2 the heaviest site ignores its own bound and pushes as far as the ring allows, against its gradient."""
    original, seen = masked_replies.within_norm, []

    def pushed(update: np.ndarray, bound: float) -> np.ndarray:
        seen.append(len(seen))
        is_attack = len(seen) == len(NAMES) * 2
        return -1e6 * np.sign(update) if is_attack else original(update, bound)

    monkeypatch.setattr(masked_replies, "within_norm", pushed)
    return seen


def test_an_attack_inside_the_sum_is_rolled_back_within_its_round(tmp_path: Path, attacked: list[int]) -> None:
    calls: list[float] = []
    result = _run(tmp_path, bound=0.05, calls=calls)
    assert len(attacked) == 4 * len(NAMES)
    assert [bool(entry.rolled_back) for entry in result.rounds] == [False, True, False, False]
    assert result.rounds[1].model_digest == result.rounds[0].model_digest
    assert result.rounds[1].update_norm == 0.0
    assert "held-out loss" in result.rounds[1].rolled_back
    assert loss(result.parameters, None) <= min(calls) + 0.05
    assert "rolled back" in round_note(result.rounds[1])
    assert round_record(result.rounds[1]).metrics["round/rolled_back"] == 1.0


def test_without_a_gate_the_same_attack_ruins_the_model(tmp_path: Path, attacked: list[int]) -> None:
    result = _run(tmp_path, bound=None)
    assert attacked
    assert not any(entry.rolled_back for entry in result.rounds)
    assert loss(result.parameters, None) > loss(np.zeros(5), None) + 0.5


def test_an_honest_study_passes_and_is_as_without_a_gate(tmp_path: Path) -> None:
    gated = _run(tmp_path / "gated", bound=0.05)
    free = _run(tmp_path / "free", bound=None)
    np.testing.assert_allclose(gated.parameters, free.parameters, rtol=0, atol=1e-6)


def test_a_restart_compares_with_the_best_so_far(tmp_path: Path) -> None:
    study = masked_manifest(
        tmp_path,
        aggregation={"mode": "masked", "quorum": 3, "masked": MASKED | {"held_out_bound": 0.05}},
        evaluation={"release": "none"},
    )
    _run(tmp_path, bound=0.05)
    state = CheckpointStore(tmp_path / "coordinator", study=study.digest).latest()
    assert state is not None
    assert len(state.kept_losses) == 1
    assert state.kept_losses[0] <= loss(np.zeros(5), None)


def test_a_gate_without_held_out_records_is_refused(tmp_path: Path) -> None:
    study = masked_manifest(
        tmp_path,
        aggregation={"mode": "masked", "quorum": 3, "masked": MASKED | {"held_out_bound": 0.05}},
        evaluation={"release": "none"},
    )
    with pytest.raises(ConfigurationError, match="held-out records"):
        run_study(
            study,
            Lossy({}),
            NullTracker(),
            checkpoints=CheckpointStore(tmp_path / "coordinator", study=study.digest),
            clock=iter(range(10)).__next__,
            on_round=lambda _: None,
        )
