"""Intervals of a paid evaluation hold the truth as often as they say, and errors are as large as they say.

The truth is the figure of two million patients; each repetition draws test patients and noise anew. With 200 repetitions
a 95 % interval holds the truth in 90.5 % to 98.5 % of them (3 standard errors); 88 % to 99 % leaves room for the bins.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sklearn import metrics

from federation.models.noisy_metrics import CountLayout, NoisyCounts
from federation.models.noisy_performance import derive_performance
from federation.models.noisy_statistics import statistics
from tests.federation.models.test_noisy_statistics import binary_table, scored

pytestmark = pytest.mark.statistical

BINS, REPETITIONS = 10, 200
MEASURED = ("prevalence", "accuracy", "auroc", "auprc", "brier", "log_loss", "risk_excess")
LINE = ("calibration_intercept", "calibration_slope")
CASES = [(1_000, 25.0), (3_000, 400.0), (5_000, 2_500.0)]


@cache
def _truth() -> dict[str, float]:
    scores, outcomes = scored(2_000_000, 99)
    layout = CountLayout("binary", BINS)
    binned = statistics(layout, binary_table(scores, outcomes, BINS)[None])
    return {
        "prevalence": outcomes.mean(),
        "accuracy": metrics.accuracy_score(outcomes, scores >= 0.5),
        "auroc": metrics.roc_auc_score(outcomes, scores),
        "auprc": metrics.average_precision_score(outcomes, scores),
        "brier": metrics.brier_score_loss(outcomes, scores),
        "log_loss": metrics.log_loss(outcomes, scores),
        "risk_excess": (scores - outcomes).mean(),
        # The line is one of the bins' centres by definition.
        **{name: float(binned[name][0]) for name in LINE},
    }


@cache
def _repeated(records: int, variance: float, claimed: float) -> dict[str, np.ndarray]:
    """``[repetitions, 4]`` value, error, lower, upper of every figure that was shown."""
    generator = np.random.default_rng([records, int(variance)])
    layout = CountLayout("binary", BINS)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for repetition in range(REPETITIONS):
        table = binary_table(*scored(records, 1_000 + repetition), BINS)
        noisy = table + np.rint(generator.normal(0, np.sqrt(variance), 2 * BINS))
        for name, shown in derive_performance(NoisyCounts(layout, {"overall": noisy}, claimed)).metrics.items():
            found.setdefault(name, []).append((shown.value, shown.error, shown.lower, shown.upper))
    return {name: np.array(rows) for name, rows in found.items()}


def _coverage(rows: np.ndarray, truth: float) -> float:
    return float(np.mean((rows[:, 2] <= truth) & (truth <= rows[:, 3])))


@pytest.mark.parametrize(("records", "variance"), CASES)
@pytest.mark.parametrize("name", [*MEASURED, *LINE])
def test_intervals_hold_the_truth(records: int, variance: float, name: str) -> None:
    rows = _repeated(records, variance, variance)[name]
    assert len(rows) >= 0.85 * REPETITIONS
    assert 0.88 <= _coverage(rows, _truth()[name]) <= 0.99


@pytest.mark.parametrize(("records", "variance"), CASES)
@pytest.mark.parametrize("name", [name for name in MEASURED if name != "auprc"])
def test_errors_are_as_large_as_they_say_and_estimates_not_biased(records: int, variance: float, name: str) -> None:
    rows, truth = _repeated(records, variance, variance)[name], _truth()[name]
    assert np.median(rows[:, 1]) == pytest.approx(np.std(rows[:, 0]), rel=0.2)
    # Ties within a bin cost the AUROC of ten bins about 0.005.
    room = 0.006 if name in {"auroc", "log_loss", "brier"} else 0.0
    assert abs(rows[:, 0].mean() - truth) < 3.5 * rows[:, 0].std() / np.sqrt(len(rows)) + room


@pytest.mark.parametrize("name", ["accuracy", "auroc", "brier"])
def test_intervals_that_forget_the_noise_do_not(name: str) -> None:
    rows = _repeated(3_000, 400.0, 1e-6)[name]
    assert _coverage(rows, _truth()[name]) < 0.75


def test_the_count_of_records_is_held_by_its_interval() -> None:
    rows = _repeated(3_000, 400.0, 400.0)["count"]
    assert 0.88 <= _coverage(rows, 3_000) <= 0.99
    assert abs(rows[:, 0].mean() - 3_000) < 4 * np.sqrt(2 * BINS * 400 / REPETITIONS)
