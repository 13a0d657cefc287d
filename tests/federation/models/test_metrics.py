"""Additive metrics against scikit-learn, over any division into sites."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics

from federation.errors import InvalidInputError, TransportError
from federation.models.metrics import MetricSums, metric_sums


def _binary(records: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    outcomes = (generator.random(records) < 0.3).astype(np.float64)
    scores = 1 / (1 + np.exp(-(1.5 * outcomes - 0.7 + generator.normal(size=records))))
    return scores, outcomes


@given(records=st.integers(5, 300), seed=st.integers(0, 1000))
def test_binary_with_fine_bins_equals_scikit_learn(records: int, seed: int) -> None:
    scores, outcomes = _binary(records, seed)
    assume(0 < outcomes.sum() < records)
    derived = metric_sums("binary", scores, outcomes, score_bins=1_000_000).derive()
    assert derived["count"] == records
    assert derived["prevalence"] == pytest.approx(outcomes.mean())
    assert derived["accuracy"] == pytest.approx(metrics.accuracy_score(outcomes, scores > 0.5))
    assert derived["brier"] == pytest.approx(metrics.brier_score_loss(outcomes, scores))
    assert derived["log_loss"] == pytest.approx(metrics.log_loss(outcomes, scores), rel=1e-6)
    assert derived["auroc"] == pytest.approx(metrics.roc_auc_score(outcomes, scores), abs=1e-3)
    assert derived["auprc"] == pytest.approx(metrics.average_precision_score(outcomes, scores), abs=1e-2)


@pytest.mark.parametrize("bins", [1, 10, 200])
def test_scores_in_one_bin_are_ties(bins: int) -> None:
    scores, outcomes = _binary(500, 1)
    binned = np.floor(scores * bins) / bins
    derived = metric_sums("binary", scores, outcomes, score_bins=bins).derive()
    assert derived["auroc"] == pytest.approx(metrics.roc_auc_score(outcomes, binned), abs=1e-12)
    assert derived["auprc"] == pytest.approx(metrics.average_precision_score(outcomes, binned), abs=1e-12)


def test_finer_bins_converge_to_the_exact_auroc() -> None:
    scores, outcomes = _binary(2000, 2)
    exact = metrics.roc_auc_score(outcomes, scores)
    errors = [
        abs(metric_sums("binary", scores, outcomes, score_bins=bins).derive()["auroc"] - exact)
        for bins in (5, 50, 500, 50_000)
    ]
    assert errors[0] > errors[-1]
    assert errors[2] < 1e-3
    assert errors[-1] < 1e-5


@given(cuts=st.lists(st.integers(0, 200), min_size=1, max_size=4), seed=st.integers(0, 100))
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_sums_over_sites_are_the_sum_over_all_records(task: str, cuts: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores, outcomes = _binary(200, seed)
    if task == "multiclass":
        scores, outcomes = generator.dirichlet([1, 1, 1], size=200), generator.integers(0, 3, 200)
    together = metric_sums(task, scores, outcomes, score_bins=20)
    parts = np.split(np.arange(200), sorted(cuts))
    first, *rest = (metric_sums(task, scores[part], outcomes[part], score_bins=20) for part in parts)
    total = sum(rest, start=first)
    for name, array in together.arrays.items():
        np.testing.assert_allclose(total.arrays[name], array, rtol=1e-12)


def test_multiclass_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    scores, outcomes = generator.dirichlet([1, 2, 1], size=300), generator.integers(0, 3, 300)
    derived = metric_sums("multiclass", scores, outcomes, score_bins=10).derive()
    predicted = scores.argmax(axis=1)
    assert derived["accuracy"] == pytest.approx(metrics.accuracy_score(outcomes, predicted))
    assert derived["macro_recall"] == pytest.approx(metrics.recall_score(outcomes, predicted, average="macro"))
    assert derived["log_loss"] == pytest.approx(metrics.log_loss(outcomes, scores))


def test_macro_recall_is_over_the_classes_that_occur() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    assert metric_sums("multiclass", scores, [0, 1], score_bins=1).derive()["macro_recall"] == 1.0


def test_regression_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    outcomes = generator.normal(size=200)
    said = outcomes + generator.normal(size=200) / 2
    derived = metric_sums("regression", said, outcomes, score_bins=1).derive()
    assert derived["rmse"] == pytest.approx(metrics.root_mean_squared_error(outcomes, said))
    assert derived["mae"] == pytest.approx(metrics.mean_absolute_error(outcomes, said))
    assert derived["r2"] == pytest.approx(metrics.r2_score(outcomes, said))


def test_what_the_records_do_not_define_is_left_out() -> None:
    one_class = metric_sums("binary", [0.2, 0.7], [1, 1], score_bins=10).derive()
    assert "auroc" not in one_class
    assert one_class["auprc"] == 1.0
    no_case = metric_sums("binary", [0.2, 0.7], [0, 0], score_bins=10).derive()
    assert {"auroc", "auprc"}.isdisjoint(no_case)
    assert "r2" not in metric_sums("regression", [0.1, 0.2], [0.3, 0.3], score_bins=1).derive()
    for task, empty in (("binary", np.zeros(0)), ("multiclass", np.zeros((0, 3))), ("regression", np.zeros(0))):
        assert metric_sums(task, empty, np.zeros(0), score_bins=5).derive() == {"count": 0.0}


def test_certain_and_wrong_is_costly_but_finite() -> None:
    derived = metric_sums("binary", [0.0, 1.0], [1, 0], score_bins=10).derive()
    assert 10 < derived["log_loss"] < 20
    assert derived["auroc"] == 0.0


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_arrays_of_a_message_give_the_same_sums(task: str) -> None:
    scores = [[0.2, 0.8], [0.5, 0.5]] if task == "multiclass" else [0.2, 0.7]
    sums = metric_sums(task, scores, [0, 1], score_bins=10)
    again = MetricSums.from_arrays(task, sums.to_arrays())
    assert again.derive() == sums.derive()
    assert all(array.ndim == 1 for array in sums.to_arrays().values())


@pytest.mark.parametrize(
    "change",
    [
        {"correct": None},
        {"surprise": [1.0]},
        {"correct": [np.nan]},
        {"correct": [-1.0]},
        {"correct": [1.0, 2.0]},
        {"log_loss": [[1.0]]},
        {"positive_histogram": [1.0] * 9},
        {"positive_histogram": []},
    ],
)
def test_malformed_arrays_of_a_message_are_refused(change: dict[str, object]) -> None:
    arrays = metric_sums("binary", [0.2, 0.7], [0, 1], score_bins=10).to_arrays() | change
    with pytest.raises(TransportError, match="metric array"):
        MetricSums.from_arrays("binary", {name: value for name, value in arrays.items() if value is not None})


def test_a_confusion_that_is_not_square_is_refused() -> None:
    with pytest.raises(TransportError, match="lengths"):
        MetricSums.from_arrays("multiclass", {"confusion": [1.0] * 8, "log_loss": [1.0]})


@pytest.mark.parametrize(
    ("task", "scores", "outcomes"),
    [
        ("binary", [0.1], [0.0, 1.0]),
        ("binary", [[0.1]], [0.0]),
        ("multiclass", [0.1], [0.0]),
        ("multiclass", [[0.5, 0.5]], [2]),
        ("multiclass", [[0.5, 0.5]], [-1]),
        ("regression", [np.nan], [0.0]),
        ("binary", [np.inf], [0.0]),
        ("binary", [0.1], [np.nan]),
    ],
)
def test_bad_scores_are_refused(task: str, scores: object, outcomes: object) -> None:
    with pytest.raises(InvalidInputError):
        metric_sums(task, scores, outcomes, score_bins=10)


def test_sums_of_different_studies_do_not_add() -> None:
    first = metric_sums("binary", [0.1], [0], score_bins=10)
    for other in (
        metric_sums("binary", [0.1], [0], score_bins=20),
        metric_sums("regression", [0.1], [0], score_bins=1),
    ):
        with pytest.raises(InvalidInputError, match="same task"):
            first + other
