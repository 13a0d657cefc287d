"""Figures from tables of counts, against scikit-learn where there is no noise to speak of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from federation.models.noisy_metrics import OUTCOME_BINS, CountLayout
from federation.models.noisy_statistics import nearest_non_negative, statistics


def scored(records: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    outcomes = (generator.random(records) < 0.3).astype(np.float64)
    return 1 / (1 + np.exp(-(1.5 * outcomes - 1.2 + generator.normal(size=records)))), outcomes


def binary_table(scores: np.ndarray, outcomes: np.ndarray, bins: int) -> np.ndarray:
    cells = np.minimum((scores * bins).astype(np.int64), bins - 1) + bins * (outcomes > 0.5)
    return np.bincount(cells, minlength=2 * bins).astype(np.float64)


def _figures(layout: CountLayout, table: np.ndarray) -> dict[str, float]:
    return {name: float(values[0]) for name, values in statistics(layout, table[None]).items()}


@pytest.mark.parametrize(("bins", "tolerance"), [(20, 0.01), (200, 1e-3), (2000, 1e-4)])
def test_binary_equals_scikit_learn_up_to_the_bins(bins: int, tolerance: float) -> None:
    scores, outcomes = scored(20_000, 1)
    found = _figures(CountLayout("binary", bins), binary_table(scores, outcomes, bins))
    assert found["count"] == 20_000
    assert found["positives"] == outcomes.sum()
    assert found["prevalence"] == outcomes.mean()
    assert found["accuracy"] == metrics.accuracy_score(outcomes, scores >= 0.5)
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(outcomes, scores), abs=tolerance)
    assert found["auprc"] == pytest.approx(metrics.average_precision_score(outcomes, scores), abs=3 * tolerance)
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(outcomes, scores), abs=tolerance)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(outcomes, scores), abs=tolerance)
    assert found["risk_excess"] == pytest.approx((scores - outcomes).mean(), abs=tolerance)


def test_calibration_line_is_a_logistic_regression_on_the_logit() -> None:
    scores, outcomes = scored(5_000, 2)
    centres = (np.floor(scores * 50) + 0.5) / 50
    fit = LogisticRegression(C=1e12, tol=1e-10).fit(np.log(centres / (1 - centres))[:, None], outcomes)
    found = _figures(CountLayout("binary", 50), binary_table(scores, outcomes, 50))
    assert found["calibration_slope"] == pytest.approx(fit.coef_[0, 0], rel=1e-4)
    assert found["calibration_intercept"] == pytest.approx(fit.intercept_[0], rel=1e-4)


@pytest.mark.parametrize("edge", [1, 5, 15])
def test_net_benefit_is_that_of_treating_from_the_threshold_on(edge: int) -> None:
    scores, outcomes = scored(3_000, 3)
    found, threshold = _figures(CountLayout("binary", 20), binary_table(scores, outcomes, 20)), edge / 20
    treated, odds = scores >= threshold, threshold / (1 - threshold)
    expected = (treated * outcomes).mean() - odds * (treated * (1 - outcomes)).mean()
    assert found[f"net_benefit/{threshold:.4g}"] == pytest.approx(expected)
    assert found[f"treat_all/{threshold:.4g}"] == pytest.approx(outcomes.mean() - odds * (1 - outcomes).mean())


def test_noise_does_not_bias_the_auroc() -> None:
    scores, outcomes = scored(4_000, 4)
    table, layout = binary_table(scores, outcomes, 20), CountLayout("binary", 20)
    noisy = table + np.rint(np.random.default_rng(5).normal(0, 15, size=(4_000, 40)))
    found = statistics(layout, noisy)["auroc"]
    exact = _figures(layout, table)["auroc"]
    assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(len(found))
    cut = statistics(layout, np.maximum(noisy, 0))["auroc"]
    assert abs(cut.mean() - exact) > 10 * cut.std() / np.sqrt(len(cut)), "cutting at zero must be seen to bias"


def test_multiclass_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth, said = generator.integers(0, 4, 500), generator.integers(0, 4, 500)
    table = np.bincount(truth * 4 + said, minlength=16).astype(np.float64)
    found = _figures(CountLayout("multiclass", 10, classes=4), table)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    assert found["macro_recall"] == pytest.approx(metrics.recall_score(truth, said, average="macro"))


def test_regression_equals_scikit_learn_up_to_the_bins() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(-1, 1, 20_000)
    error = np.clip(generator.normal(0.1, 0.2, 20_000), -0.99, 0.99)
    bins = 400
    cells = np.floor((truth + 1) / 2 * OUTCOME_BINS) * bins + np.floor((error + 1) / 2 * bins)
    table = np.bincount(cells.astype(np.int64), minlength=OUTCOME_BINS * bins).astype(np.float64)
    found = _figures(CountLayout("regression", bins), table)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, truth + error), rel=1e-3)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, truth + error), rel=1e-3)
    assert found["mean_error"] == pytest.approx(error.mean(), rel=1e-2)
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, truth + error), abs=0.02)


def test_a_spread_within_one_outcome_bin_gives_no_r2() -> None:
    table = np.zeros(OUTCOME_BINS * 10)
    table[25] = 100.0
    found = _figures(CountLayout("regression", 10), table)
    assert np.isnan(found["r2"])
    assert found["rmse"] == pytest.approx(0.1)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_an_empty_table_defines_nothing_but_its_count(task: str) -> None:
    layout = CountLayout(task, 10, classes=3)  # pyright: ignore[reportArgumentType] - the parameters are tasks
    found = _figures(layout, np.zeros(layout.cells))
    assert found.pop("count") == 0.0
    found.pop("positives", None)
    assert all(np.isnan(value) for value in found.values())


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=12))
def test_the_nearest_table_is_not_negative_keeps_the_total_and_is_nearest(counts: list[int]) -> None:
    table = np.array(counts, dtype=np.float64)
    found = nearest_non_negative(table[None])[0]
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(max(table.sum(), 0.0), abs=1e-9)
    if table.sum() > 0:
        # Optimality: cells above zero are all lowered by the same amount, the others by at least as much as they hold.
        lowered = table - found
        assert np.ptp(lowered[found > 0]) < 1e-9
        assert (lowered <= lowered[found > 0].max() + 1e-9).all()
    if (table >= 0).all():
        np.testing.assert_allclose(found, table)
