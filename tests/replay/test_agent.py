"""The replay through the whole agent: with the releases frozen, neighbours answer with the same bytes, heads included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.privacy.events import DiscreteGaussian
from site_client import agent as agent_module
from site_client import paid_evaluation, paid_preparation, study_replies
from site_client.patients import PatientDataset
from tests.replay.agent_runs import ROUNDS, VARIANTS, check
from tests.replay.tape import DivergenceError, Tape


def _points(tape: Tape) -> list[str]:
    return [release.point for release in tape.releases]


@pytest.mark.parametrize("shrinks", [True, False], ids=["removed", "added"])
@pytest.mark.parametrize("odd", [0, 11, 19])
@pytest.mark.parametrize("variant", VARIANTS)
def test_neighbouring_sites_answer_alike(variant: str, odd: int, shrinks: bool, tmp_path: Path) -> None:
    tape = check(tmp_path, variant, odd=odd, shrinks=shrinks, records=1 + odd % 3)
    assert _points(tape) == ["noisy_mean"] * 3 * ROUNDS, "a repeated request releases nothing anew"


@pytest.mark.parametrize("shrinks", [True, False], ids=["removed", "added"])
@pytest.mark.parametrize("in_test", [True, False], ids=["test patient", "training patient"])
@pytest.mark.parametrize("odd", [0, 11])
@pytest.mark.parametrize("variant", ["fedavg linear", "fedadam mlp"])
def test_neighbouring_sites_are_evaluated_alike(
    variant: str, odd: int, in_test: bool, shrinks: bool, tmp_path: Path
) -> None:
    tape = check(tmp_path, variant, odd=odd, shrinks=shrinks, paid=True, in_test=in_test)
    assert _points(tape) == (["noisy_mean"] * 3 + ["noisy_counts"]) * ROUNDS
    counted = [release.mechanism for release in tape.releases if release.point == "noisy_counts"]
    assert counted == [DiscreteGaussian(sensitivity_squared=8, variance=4000)] * ROUNDS


@pytest.mark.parametrize("shrinks", [True, False], ids=["removed", "added"])
@pytest.mark.parametrize("odd", [0, 11, 19])
def test_neighbouring_sites_are_counted_alike_before_round_one(odd: int, shrinks: bool, tmp_path: Path) -> None:
    tape = check(tmp_path, "fedavg linear", odd=odd, shrinks=shrinks, records=1 + odd % 3, prepared=True)
    assert _points(tape) == ["noisy_counts"] + ["noisy_mean"] * 3 * ROUNDS
    assert tape.releases[0].mechanism == DiscreteGaussian(sensitivity_squared=6 * 4, variance=40)


def test_preparation_that_counts_patients_twice_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = paid_preparation.preparation_counts
    monkeypatch.setattr(
        paid_preparation, "preparation_counts", lambda *arguments, **rest: 2 * original(*arguments, **rest)
    )
    with pytest.raises(DivergenceError, match="distance"):
        check(tmp_path, "fedavg linear", odd=3, shrinks=True, records=3, prepared=True)


def test_a_test_patient_changes_nothing_in_training(tmp_path: Path) -> None:
    tape = check(tmp_path, "fedavg linear", odd=4, shrinks=True, in_test=True)
    assert _points(tape) == ["noisy_mean"] * 3 * ROUNDS


Change = Callable[[np.ndarray, PatientDataset], np.ndarray]


@pytest.mark.parametrize(
    "change",
    [
        lambda parameters, data: parameters * np.float32(1 + 1e-6 * data.num_patients),
        lambda parameters, data: parameters + np.float32(1e-3) * data.features.mean(axis=0, dtype=np.float32)[0],
    ],
    ids=["weighted by patients", "a mean added"],
)
def test_an_update_that_tells_more_is_noticed(change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = agent_module.train_locally

    def changed(model: object, dataset: PatientDataset, **rest: object) -> object:
        result = original(model, dataset, **rest)
        return replace(result, parameters=change(result.parameters, dataset))

    monkeypatch.setattr(agent_module, "train_locally", changed)
    with pytest.raises(DivergenceError, match="outcome"):
        check(tmp_path, "fedavg linear", odd=3, shrinks=True)


def _all_records(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(paid_evaluation, "first_records", lambda index, most: np.arange(len(index)))


def _weighted(patch: pytest.MonkeyPatch) -> None:
    original = paid_evaluation.exact_counts
    patch.setattr(paid_evaluation, "exact_counts", lambda *arguments, **rest: 2 * original(*arguments, **rest))


def _exact_total(patch: pytest.MonkeyPatch) -> None:
    """One cell carries the exact number of records."""
    original = study_replies.release_counts

    def telling(model: object, dataset: PatientDataset, **rest: object) -> dict[str, np.ndarray]:
        tables = original(model, dataset, **rest)
        next(iter(tables.values()))[0] = dataset.num_records
        return tables

    patch.setattr(study_replies, "release_counts", telling)


def _skipped_when_few(patch: pytest.MonkeyPatch) -> None:
    original = study_replies.release_counts

    def skipping(model: object, dataset: PatientDataset, **rest: object) -> dict[str, np.ndarray]:
        if dataset.num_patients < 12:
            raise ValueError("a small cohort")
        return original(model, dataset, **rest)

    patch.setattr(study_replies, "release_counts", skipping)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (_all_records, "distance"),
        (_weighted, "distance"),
        (_exact_total, "outcome"),
        (_skipped_when_few, "control flow"),
    ],
    ids=["records beyond the cap", "weighted counts", "an exact total", "small cohorts refused"],
)
def test_an_evaluation_that_tells_more_is_noticed(
    fault: Callable[[pytest.MonkeyPatch], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    with pytest.raises(DivergenceError, match=kind):
        check(tmp_path, "fedavg linear", odd=3, shrinks=True, paid=True, in_test=True)
