"""Sums of counts, quantiles and survival: additive, and equal to scikit-learn and lifelines on the pooled predictions."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from sklearn.metrics import (
    d2_tweedie_score,
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
    roc_auc_score,
)

from federation.errors import TransportError
from federation.models.metrics import MetricSums, metric_lengths, metric_sums
from federation.models.survival_metrics import risks
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, Objective
from tests.objectives import COX, HAZARDS, QUANTILES

RECORDS = 400
TERMS = DiscreteTimeTerms(edges=(2.0, 5.0, 9.0), time_bins=600)


def _followed(seed: int = 0, *, censored: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores ``[R, 3]``, times and events."""
    generator = np.random.default_rng(seed)
    relative = generator.normal(size=RECORDS)
    time = generator.exponential(6 * np.exp(-relative))
    end = generator.uniform(1, 14, RECORDS) if censored else np.full(RECORDS, 1e4)
    said = np.exp(-np.outer(np.exp(relative + generator.normal(size=RECORDS)), np.array([0.2, 0.6, 1.1])))
    return said, np.minimum(time, end), time <= end


def _encoded(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    return np.where(event, 1, -1) * (1 + time)


def _horizon(time: np.ndarray, event: np.ndarray, last: float) -> tuple[np.ndarray, np.ndarray]:
    """Follow-up cut at the last edge, as the terms say."""
    return np.minimum(time, last), event & (time < last)


def test_counts_against_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    said, truth = generator.uniform(0.5, 6, RECORDS), generator.poisson(3, RECORDS).astype(float)
    found = metric_sums("count", said, truth, score_bins=1).derive()
    assert found["deviance"] == pytest.approx(mean_poisson_deviance(truth, said), rel=1e-12)
    assert found["deviance_explained"] == pytest.approx(d2_tweedie_score(truth, said, power=1), rel=1e-9)
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, said), rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((said - truth) ** 2)), rel=1e-12)
    assert found["calibration_ratio"] == pytest.approx(truth.sum() / said.sum(), rel=1e-12)
    assert found["mean_error"] == pytest.approx(said.mean() - truth.mean(), rel=1e-9)


def test_what_counts_do_not_define_is_left_out() -> None:
    assert metric_sums("count", np.zeros(0), np.zeros(0), score_bins=1).derive() == {"count": 0.0}
    found = metric_sums("count", [1.0, 2.0], [3.0, 3.0], score_bins=1).derive()
    assert "deviance_explained" not in found
    assert "calibration_ratio" not in metric_sums("count", [0.0], [3.0], score_bins=1).derive()


def test_quantiles_against_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    said, truth = generator.normal(size=(RECORDS, 3)), generator.normal(size=RECORDS)
    found = metric_sums(QUANTILES, said, truth, score_bins=1).derive()
    for place, level in enumerate(QUANTILES.levels):
        expected = mean_pinball_loss(truth, said[:, place], alpha=level)
        assert found[f"pinball_{level:g}"] == pytest.approx(expected, rel=1e-12)
        assert found[f"coverage_{level:g}"] == np.mean(truth <= said[:, place])
    assert found["crossing"] == np.mean((said[:, 0] > said[:, 1]) | (said[:, 1] > said[:, 2]))


@pytest.mark.parametrize("censored", [True, False])
def test_concordance_converges_to_that_of_lifelines(censored: bool) -> None:
    said, time, event = _followed(censored=censored)
    cut, died = _horizon(time, event, 9.0)
    expected = concordance_index(cut, -risks(TERMS, said), died)
    errors = []
    for bins in (5, 50, 600):
        terms = DiscreteTimeTerms(edges=TERMS.edges, time_bins=bins)
        found = metric_sums(terms, said, _encoded(time, event), score_bins=20 * bins).derive()
        errors.append(abs(found["concordance"] - expected))
    assert errors[2] < 1e-3
    assert errors[2] < errors[0]


def test_concordance_is_exact_where_nothing_shares_a_bin() -> None:
    """Whole days and a time bin for each; risks a hundredth apart and a bin for each."""
    generator = np.random.default_rng(2)
    time = generator.permutation(90) + 0.5
    event = generator.random(90) < 0.6
    relative = np.log(1 / np.linspace(0.95, 0.05, 90)[generator.permutation(90)] - 1)  # the sigmoid is an even grid
    terms = CoxTerms(edges=(90.0,), time_bins=90)
    found = metric_sums(terms, relative, _encoded(time, event), score_bins=1000).derive()
    assert found["concordance"] == pytest.approx(concordance_index(time, -relative, event), rel=1e-12)
    assert "integrated_brier" not in found  # a relative hazard is no probability


def test_tied_times_and_risks_count_as_in_lifelines() -> None:
    time = np.array([1.0, 1, 1, 2, 2, 3, 3, 3]) + 0.25
    event = np.array([1, 1, 0, 1, 0, 1, 1, 0], dtype=bool)
    relative = np.array([0.3, 0.3, -1, 0.3, 2, -1, 0, 0])
    found = metric_sums(CoxTerms(edges=(4.0,), time_bins=4), relative, _encoded(time, event), score_bins=200).derive()
    assert found["concordance"] == pytest.approx(concordance_index(time, -relative, event), rel=1e-12)


def test_auroc_at_a_time_is_scikit_learns_where_nobody_is_censored() -> None:
    said, time, event = _followed(censored=False)
    found = metric_sums(TERMS, said, _encoded(time, event), score_bins=20_000).derive()
    for edge in TERMS.edges:
        assert found[f"auroc_at_{edge:g}"] == pytest.approx(roc_auc_score(time < edge, risks(TERMS, said)), abs=2e-4)
    assert found["mean_auroc"] == pytest.approx(np.mean([found[f"auroc_at_{edge:g}"] for edge in TERMS.edges]))


def test_auroc_and_brier_are_weighted_by_the_kaplan_meier_curve_of_censoring() -> None:
    """Graf's score and Uno's AUROC written out, with lifelines' curve of censoring."""
    said, time, event = _followed(seed=3)
    found = metric_sums(TERMS, said, _encoded(time, event), score_bins=20_000).derive()
    censoring = KaplanMeierFitter().fit(time, ~event)
    risk = risks(TERMS, said)
    for place, edge in enumerate(TERMS.edges):
        case, alive = event & (time < edge), time >= edge
        before = 1 / censoring.predict(time - 1e-9).to_numpy()
        weights = case * before
        brier = (
            weights * said[:, place] ** 2 + alive * (1 - said[:, place]) ** 2 / float(censoring.predict(edge))
        ).mean()
        assert found[f"brier_at_{edge:g}"] == pytest.approx(brier, abs=2e-3)
        pairs = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
        auroc = (weights[:, None] * alive * pairs).sum() / (weights.sum() * alive.sum())
        assert found[f"auroc_at_{edge:g}"] == pytest.approx(auroc, abs=2e-3)


def test_without_censoring_the_brier_score_is_the_mean_squared_error() -> None:
    said, time, event = _followed(censored=False)
    found = metric_sums(TERMS, said, _encoded(time, event), score_bins=10).derive()
    scores = [np.mean(((time >= edge) - said[:, place]) ** 2) for place, edge in enumerate(TERMS.edges)]
    assert [found[f"brier_at_{edge:g}"] for edge in TERMS.edges] == pytest.approx(scores, rel=1e-12)
    edges, values = [0.0, *TERMS.edges], [0.0, *scores]
    assert found["integrated_brier"] == pytest.approx(np.trapezoid(values, edges) / 9)


def test_the_log_loss_is_the_trainings_loss() -> None:
    import torch

    from federation.models.losses import record_losses, scores

    for terms in HAZARDS.values():
        outputs = torch.from_numpy(np.random.default_rng(1).normal(size=(40, 3)))
        codes = torch.from_numpy(_encoded(np.linspace(0, 5, 40), np.arange(40) % 2 == 0))
        found = metric_sums(terms, scores(terms, outputs).numpy(), codes.numpy(), score_bins=5).derive()
        assert found["log_loss"] == pytest.approx(float(record_losses(terms, outputs, codes).mean()), rel=1e-6)


def _sums(task: Objective, rows: slice) -> MetricSums:
    said, time, event = _followed()
    scores = said[rows, 0] if task in ("count", COX) else said[rows]
    truth = np.floor(time) if task == "count" else _encoded(time, event) if task != QUANTILES else time
    return metric_sums(task, scores, truth[rows], score_bins=30)


@pytest.mark.parametrize("task", ["count", QUANTILES, TERMS, COX], ids=["count", "quantile", "discrete time", "cox"])
def test_sums_of_sites_give_the_figures_of_all_records(task: Objective) -> None:
    parts = [_sums(task, rows) for rows in (slice(0, 3), slice(3, 250), slice(250, None))]
    together = reduce(add, parts).derive()
    everything = _sums(task, slice(None)).derive()
    assert together.keys() == everything.keys()
    assert together == pytest.approx(everything, rel=1e-9)


@pytest.mark.parametrize("task", ["count", QUANTILES, TERMS, COX], ids=["count", "quantile", "discrete time", "cox"])
def test_sums_travel_and_have_the_lengths_that_every_party_expects(task: Objective) -> None:
    sums = _sums(task, slice(None))
    arrays = sums.to_arrays()
    assert {name: len(array) for name, array in arrays.items()} == metric_lengths(task, score_bins=30, classes=2)
    assert MetricSums.from_arrays(task, arrays).derive() == sums.derive()
    name = max(arrays, key=lambda name: len(arrays[name]))
    for spoilt in (
        {},
        arrays | {name: arrays[name][:-1]},
        arrays | {name: -1 - arrays[name]},
        arrays | {"more": np.zeros(1)},
    ):
        with pytest.raises(TransportError):
            MetricSums.from_arrays(task, spoilt)


def test_nobody_and_nobody_with_an_event() -> None:
    none = metric_sums(TERMS, np.zeros((0, 3)), np.zeros(0), score_bins=10).derive()
    assert none == {"count": 0.0}
    found = metric_sums(TERMS, np.full((5, 3), 0.5), -np.linspace(1, 9, 5), score_bins=10).derive()
    assert found["events"] == 0
    assert "concordance" not in found
    assert "mean_auroc" not in found
