"""What is derived from noisy counts: errors, suppression, and that small noise gives small errors."""

from __future__ import annotations

import numpy as np
import pytest

from federation.models.noisy_intervals import MINIMUM_CELL, NoisyTable, estimates
from federation.models.noisy_metrics import CountLayout, NoisyCounts
from federation.models.noisy_performance import NoisyPerformance, derive_performance
from federation.models.noisy_statistics import statistics
from tests.federation.models.test_noisy_statistics import binary_table, scored

BINS = 20


def _counts(records: int, variance: float, *, seed: int = 0, **groups: np.ndarray) -> NoisyCounts:
    subgroups = (("sex", tuple(groups)),) if groups else ()
    layout = CountLayout("binary", BINS, subgroups=subgroups)
    tables = {"overall": binary_table(*scored(records, seed), BINS)}
    return NoisyCounts(layout, tables | {f"subgroup/sex/{level}": table for level, table in groups.items()}, variance)


def test_every_figure_has_errors_and_an_interval_around_it() -> None:
    found = derive_performance(_counts(3_000, 100.0))
    assert set(found.metrics) == {
        "count", "positives", "prevalence", "accuracy", "auroc", "auprc", "brier", "log_loss", "risk_excess",
        "calibration_intercept", "calibration_slope",
    }  # fmt: skip
    assert found.left_out == {}
    assert found.cell_error == 10.0
    for name, estimate in found.metrics.items():
        assert 0 < estimate.noise_error <= estimate.error, name
        assert estimate.lower <= estimate.value <= estimate.upper, name
    assert found.values()["auroc"] == found.metrics["auroc"].value
    assert found.errors()["auroc"] == found.metrics["auroc"].noise_error


def test_noise_errors_vanish_with_the_noise() -> None:
    def errors(variance: float) -> dict[str, float]:
        return derive_performance(_counts(3_000, variance)).errors()

    large, small, least = errors(400.0), errors(25.0), errors(1e-6)
    for name, error in large.items():
        assert small[name] < error, name
        assert least[name] < 1e-12, name


def test_the_error_of_a_count_is_that_of_its_cells() -> None:
    found = derive_performance(_counts(3_000, 100.0)).metrics["count"]
    assert found.noise_error == pytest.approx(10 * np.sqrt(2 * BINS), rel=0.15)
    assert found.error == found.noise_error


def test_without_noise_the_error_is_that_of_sampling() -> None:
    found = derive_performance(_counts(3_000, 1e-6)).metrics
    assert found["accuracy"].error == pytest.approx(np.sqrt(found["accuracy"].value * 0.2 / 3_000), rel=0.15)
    # Hanley & McNeil 1982.
    area, cases = found["auroc"].value, found["positives"].value
    controls = 3_000 - cases
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (cases - 1) * (first - area**2) + (controls - 1) * (second - area**2)
    assert found["auroc"].error == pytest.approx(np.sqrt(spread / (cases * controls)), rel=0.15)


def test_several_records_of_a_patient_widen_the_sampling_error() -> None:
    one = derive_performance(_counts(3_000, 1e-6)).metrics["accuracy"].error
    four = derive_performance(_counts(3_000, 1e-6), max_records_per_patient=4).metrics["accuracy"].error
    assert four == pytest.approx(2 * one, rel=1e-6)


def test_everybody_derives_the_same_figures() -> None:
    assert derive_performance(_counts(500, 9.0)) == derive_performance(_counts(500, 9.0))


def test_what_cannot_be_told_from_noise_is_left_out_with_the_reason() -> None:
    found = derive_performance(_counts(100, 900.0))
    assert set(found.metrics) == {"count"}
    assert "below 3 standard deviations" in found.left_out["auroc"]
    assert found.calibration == ()
    assert found.net_benefit == ()


def test_few_of_one_outcome_leave_out_what_needs_both_or_would_show_it() -> None:
    scores, outcomes = scored(3_000, 1)
    outcomes[:] = 0
    outcomes[:5] = 1
    counts = NoisyCounts(CountLayout("binary", BINS), {"overall": binary_table(scores, outcomes, BINS)}, 1e-6)
    found = derive_performance(counts)
    assert set(found.left_out) == {
        "positives", "prevalence", "auroc", "auprc", "calibration_intercept", "calibration_slope",
    }  # fmt: skip
    assert {"count", "accuracy", "brier", "log_loss"} <= set(found.metrics)
    assert found.calibration == ()
    assert found.net_benefit == ()


@pytest.mark.parametrize("records", [MINIMUM_CELL - 1, MINIMUM_CELL])
def test_a_small_subgroup_is_not_shown(records: int) -> None:
    small = binary_table(*scored(records, 2), BINS)
    found = derive_performance(_counts(3_000, 0.01, few=small, many=binary_table(*scored(800, 3), BINS)))
    few, many = found.subgroups
    assert (few.level, many.level) == ("few", "many")
    if records < MINIMUM_CELL:
        assert few.metrics == {}
        assert few.left_out == {"count": f"fewer than {MINIMUM_CELL} records"}
    else:
        assert few.metrics["count"].value == records
    assert {"auroc", "accuracy"} <= set(many.metrics)
    assert not any(name.startswith(("net_benefit", "treat_all")) for name in many.metrics)


@pytest.mark.parametrize("table", [np.zeros(2 * BINS), np.full(2 * BINS, -7.0)], ids=["empty", "negative"])
def test_an_empty_or_negative_table_shows_nothing(table: np.ndarray) -> None:
    found = derive_performance(NoisyCounts(CountLayout("binary", BINS), {"overall": table}, 4.0))
    assert found.metrics == {}
    assert {"count", "auroc"} <= set(found.left_out)


def test_calibration_bins_stand_clear_of_the_noise_and_cover_the_scores() -> None:
    found = derive_performance(_counts(3_000, 100.0)).calibration
    assert found[0].lower == 0.0
    assert [row.upper for row in found[:-1]] == [row.lower for row in found[1:]]
    for row in found:
        assert row.count > 3 * np.sqrt(2 * round((row.upper - row.lower) * BINS) * 100.0)
        assert row.lower < row.predicted < row.upper
        assert 0 <= row.observed <= 1
    exact = derive_performance(_counts(200_000, 1e-6)).calibration
    for row in exact:
        scores, outcomes = scored(200_000, 0)
        inside = (scores >= row.lower) & (scores < row.upper)
        assert row.observed == pytest.approx(outcomes[inside].mean(), abs=1e-9)


def test_the_decision_curve_has_a_point_for_every_edge() -> None:
    found = derive_performance(_counts(3_000, 25.0)).net_benefit
    assert [point.threshold for point in found] == pytest.approx([edge / BINS for edge in range(1, BINS)])
    assert all(point.value.error > 0 and point.treat_all.error > 0 for point in found)


def test_it_is_plain_data_and_comes_back_the_same() -> None:
    found = derive_performance(_counts(3_000, 25.0, all=binary_table(*scored(800, 3), BINS)))
    assert NoisyPerformance.from_data(found.as_data()) == found


def test_multiclass_leaves_out_classes_that_are_noise() -> None:
    generator = np.random.default_rng(0)
    confusion = np.zeros((3, 3))
    confusion[:2, :2] = [[400, 100], [50, 300]]
    layout = CountLayout("multiclass", 10, classes=3)
    noisy = confusion.reshape(-1) + np.rint(generator.normal(0, 2, 9))
    found = derive_performance(NoisyCounts(layout, {"overall": noisy}, 4.0)).metrics
    assert found["macro_recall"].value == pytest.approx((400 / 500 + 300 / 350) / 2, abs=0.03)
    assert found["accuracy"].lower < 700 / 850 < found["accuracy"].upper


def test_multiclass_of_pure_noise_has_no_recall() -> None:
    layout = CountLayout("multiclass", 10, classes=3)
    found, reasons = estimates(NoisyTable(layout, np.full(9, 20.0), 400.0))
    assert set(found) == {"count", "accuracy"} or set(found) == {"count"}
    assert "macro_recall" in reasons


def test_regression_has_errors_too() -> None:
    layout = CountLayout("regression", 20)
    generator = np.random.default_rng(1)
    cells = generator.integers(0, 5, 5_000) * 20 + np.clip(generator.normal(10, 2, 5_000), 0, 19).astype(np.int64)
    exact = np.bincount(cells, minlength=100).astype(np.float64)
    found = derive_performance(NoisyCounts(layout, {"overall": exact + np.rint(generator.normal(0, 5, 100))}, 25.0))
    truth = {name: float(values[0]) for name, values in statistics(layout, exact[None]).items()}
    for name in ("rmse", "mae", "mean_error", "r2"):
        assert found.metrics[name].lower < truth[name] < found.metrics[name].upper
    assert found.calibration == ()
