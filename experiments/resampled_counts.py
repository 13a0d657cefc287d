"""Metrics of counts and quantiles under patient weights; see :mod:`experiments.resampled_metrics`.

Axis names: B weightings, P patients, R records, K levels.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from experiments.patient_sums import Weights, patient_sums, ratio
from experiments.predictions import FloatArray, Scored
from federation.models.count_metrics import unit_deviance
from federation.models.quantile_metrics import pinball
from federation.models.task_terms import QuantileTerms


def count_metrics(records: Scored, weights: Weights) -> dict[str, FloatArray]:
    """Mean deviance and what it explains, errors, and calibration in the large: ``[B]`` each."""
    said, truth = records.scores, records.outcomes
    sums = patient_sums(
        records,
        weights,
        {
            "n": np.ones_like(truth),
            "outcome": truth,
            "predicted": said,
            "entropy": xlogy(truth, truth),
            "deviance": unit_deviance(said, truth),
            "squared": (said - truth) ** 2,
            "absolute": np.abs(said - truth),
        },
    )
    n, outcome = sums["n"], sums["outcome"]
    null = 2 * (sums["entropy"] - xlogy(outcome, ratio(outcome, n)))
    return {
        "deviance": ratio(sums["deviance"], n),
        "deviance_explained": 1 - ratio(sums["deviance"], np.where(null > 1e-9 * np.maximum(n, 1), null, 0.0)),
        "rmse": np.sqrt(ratio(sums["squared"], n)),
        "mae": ratio(sums["absolute"], n),
        "mean_error": ratio(sums["predicted"] - outcome, n),
        "calibration_ratio": ratio(outcome, sums["predicted"]),
    }


def quantile_metrics(records: Scored, weights: Weights, terms: QuantileTerms) -> dict[str, FloatArray]:
    """Pinball loss and coverage, overall and of each level: ``[B]`` each."""
    said, truth = records.scores, records.outcomes
    losses = pinball(terms, said, truth)
    covered = (truth[:, None] <= said).astype(np.float64)
    crossed = np.any(np.diff(said, axis=1) < 0, axis=1).astype(np.float64)
    places = range(len(terms.levels))
    sums = patient_sums(
        records,
        weights,
        {"n": np.ones_like(truth), "crossed": crossed}
        | {f"loss_{place}": losses[:, place] for place in places}
        | {f"covered_{place}": covered[:, place] for place in places},
    )
    coverage = {level: ratio(sums[f"covered_{place}"], sums["n"]) for place, level in enumerate(terms.levels)}
    return {
        "pinball": np.mean([ratio(sums[f"loss_{place}"], sums["n"]) for place in places], axis=0),
        "coverage_error": np.mean([np.abs(share - level) for level, share in coverage.items()], axis=0),
        **{f"coverage_{level:g}": share for level, share in coverage.items()},
        "crossing": ratio(sums["crossed"], sums["n"]),
    }
