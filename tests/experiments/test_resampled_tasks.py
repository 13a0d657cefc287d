"""Metrics of counts, quantiles and survival under patient weights: a weighting is the same as repeating patients."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index
from sklearn.metrics import mean_pinball_loss, mean_poisson_deviance

from experiments.predictions import Scored
from experiments.resampled_metrics import weighted_metrics
from federation.models.metrics import metric_sums
from federation.models.survival_metrics import risks
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, Objective
from tests.objectives import QUANTILES

TERMS = DiscreteTimeTerms(edges=(2.0, 5.0, 9.0), time_bins=40)
COX = CoxTerms(edges=(2.0, 5.0, 9.0), time_bins=40)
TASKS: dict[str, Objective] = {"count": "count", "quantile": QUANTILES, "discrete time": TERMS, "cox": COX}


def _scored(task: Objective, size: int = 120, patients: int = 60) -> Scored:
    generator = np.random.default_rng(4)
    relative = generator.normal(size=size)
    time = np.round(generator.exponential(5 * np.exp(-relative)), 1)
    codes = np.where(generator.random(size) < 0.6, 1, -1) * (1 + time)
    owner = np.concatenate([np.arange(patients), generator.integers(0, patients, size - patients)])
    match task:
        case "count":
            return Scored(task, np.exp(relative), generator.poisson(1.5, size).astype(float), owner)
        case DiscreteTimeTerms():
            said = np.exp(-np.outer(np.exp(relative), [0.2, 0.6, 1.1]))
            return Scored(task, said, codes, owner)
        case CoxTerms():
            return Scored(task, np.round(relative, 1), codes, owner)
        case _:
            return Scored(task, generator.normal(size=(size, 3)), relative, owner)


def _once(records: Scored) -> dict[str, float]:
    ones = np.ones((1, int(records.patient_of_record.max()) + 1), dtype=np.uint16)
    return {name: float(values[0]) for name, values in weighted_metrics(records, ones).items()}


@pytest.mark.parametrize("name", TASKS)
def test_a_weighting_equals_repeating_the_patients_records(name: str) -> None:
    records = _scored(TASKS[name])
    weights = np.random.default_rng(1).integers(0, 3, (7, 60)).astype(np.uint16)
    found = weighted_metrics(records, weights)
    for row, weight in enumerate(weights):
        chosen = np.repeat(np.arange(120), weight[records.patient_of_record])
        repeated = Scored(records.task, records.scores[chosen], records.outcomes[chosen], np.arange(len(chosen)))
        expected = _once(repeated)
        assert {metric: values[row] for metric, values in found.items()} == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ["discrete time", "cox"])
def test_concordance_is_that_of_lifelines_over_the_whole_follow_up(name: str) -> None:
    records = _scored(TASKS[name])
    risk = records.scores if name == "cox" else risks(TERMS, records.scores)
    expected = concordance_index(np.abs(records.outcomes), -risk, records.outcomes > 0)
    assert _once(records)["concordance"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", TASKS)
def test_figures_agree_with_the_sums_that_sites_send(name: str) -> None:
    """Everything but concordance, which sites can send up to the last edge only; AUROC up to the width of a bin."""
    records = _scored(TASKS[name])
    ours = _once(records)
    sums = metric_sums(TASKS[name], records.scores, records.outcomes, score_bins=50_000).derive()
    for metric in ours.keys() & sums.keys() - {"concordance"}:
        assert ours[metric] == pytest.approx(sums[metric], abs=1e-3 if metric == "mean_auroc" else 1e-9), metric


def test_counts_and_quantiles_against_scikit_learn() -> None:
    counts, quantiles = _scored("count"), _scored(QUANTILES)
    assert _once(counts)["deviance"] == pytest.approx(mean_poisson_deviance(counts.outcomes, counts.scores), rel=1e-12)
    losses = [
        mean_pinball_loss(quantiles.outcomes, quantiles.scores[:, place], alpha=level)
        for place, level in enumerate(QUANTILES.levels)
    ]
    assert _once(quantiles)["pinball"] == pytest.approx(np.mean(losses), rel=1e-12)


@pytest.mark.parametrize("name", TASKS)
def test_nobody_is_no_figure(name: str) -> None:
    records = _scored(TASKS[name])
    none = Scored(records.task, records.scores[:0], records.outcomes[:0], records.patient_of_record[:0])
    assert not any(
        np.isfinite(values).any() for values in weighted_metrics(none, np.ones((2, 1), dtype=np.uint16)).values()
    )
