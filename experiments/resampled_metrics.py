"""Performance metrics under patient weights: one weighted data set per row, all rows at once.

The plain metric is the row of ones; a bootstrap sample is a row that says how often each patient was drawn. Sums over
records are one matrix product; AUROC and average precision sort once and accumulate, with ties as in scikit-learn.

Axis names: B weightings, P patients, R records, K classes, G groups of tied scores.
"""

from __future__ import annotations

from typing import Final, assert_never

import numpy as np

from experiments.patient_sums import Weights, blocks, patient_sums, ratio
from experiments.predictions import FloatArray, IndexArray, Scored
from experiments.resampled_counts import count_metrics, quantile_metrics
from experiments.resampled_survival import survival_metrics
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, QuantileTerms

_SMALLEST_PROBABILITY: Final = 1e-7
"""Log loss of a float32 score of exactly 0 or 1 stays finite."""


def weighted_metrics(records: Scored, weights: Weights) -> dict[str, FloatArray]:
    """Every metric of the task, once per weighting.

    Args:
        records: Scores and outcomes; regression and quantiles in the unit in which the result is wanted.
        weights: ``[B, P]``: how often each patient counts.

    Returns:
        Metric name to ``[B]``; NaN where a metric is not defined, such as AUROC with one outcome class.
    """
    match records.task:
        case "binary":
            return _binary(records, weights)
        case "multiclass":
            return _multiclass(records, weights)
        case "regression":
            return _regression(records, weights)
        case "count":
            return count_metrics(records, weights)
        case QuantileTerms():
            return quantile_metrics(records, weights, records.task)
        case DiscreteTimeTerms() | CoxTerms():
            return survival_metrics(records, weights, records.task)
        case _:
            assert_never(records.task)


def _binary(records: Scored, weights: Weights) -> dict[str, FloatArray]:
    risk, outcome = records.scores, records.outcomes
    positive = risk >= 0.5  # noqa: PLR2004 - the conventional threshold
    sums = patient_sums(
        records,
        weights,
        {
            "n": np.ones_like(risk),
            "events": outcome,
            "true_positive": positive * outcome,
            "true_negative": ~positive * (1 - outcome),
            "risk": risk,
            "brier": (risk - outcome) ** 2,
            "log_loss": -np.log(_bounded(np.where(outcome == 1, risk, 1 - risk))),
        },
    )
    auroc, precision = _ranked(records, weights, risk, outcome)
    n, events = sums["n"], sums["events"]
    return {
        "auroc": auroc,
        "average_precision": precision,
        "accuracy": ratio(sums["true_positive"] + sums["true_negative"], n),
        "sensitivity": ratio(sums["true_positive"], events),
        "specificity": ratio(sums["true_negative"], n - events),
        "brier": ratio(sums["brier"], n),
        "log_loss": ratio(sums["log_loss"], n),
        "risk_excess": ratio(sums["risk"] - events, n),
    }


def _multiclass(records: Scored, weights: Weights) -> dict[str, FloatArray]:
    truth, scores = records.outcomes.astype(np.int64), records.scores
    correct = (scores.argmax(axis=1) == truth).astype(np.float64)
    classes = range(scores.shape[1])
    sums = patient_sums(
        records,
        weights,
        {
            "n": np.ones_like(correct),
            "correct": correct,
            "log_loss": -np.log(_bounded(np.take_along_axis(scores, truth[:, None], axis=1)[:, 0])),
            **{f"members_{level}": (truth == level).astype(np.float64) for level in classes},
            **{f"recalled_{level}": correct * (truth == level) for level in classes},
        },
    )
    recalls = [ratio(sums[f"recalled_{level}"], sums[f"members_{level}"]) for level in classes]
    aurocs = [_ranked(records, weights, scores[:, level], (truth == level).astype(np.float64))[0] for level in classes]
    return {
        "accuracy": ratio(sums["correct"], sums["n"]),
        "macro_recall": _mean_of_defined(recalls),
        "macro_auroc": _mean_of_defined(aurocs),
        "log_loss": ratio(sums["log_loss"], sums["n"]),
    }


def _regression(records: Scored, weights: Weights) -> dict[str, FloatArray]:
    error = records.scores - records.outcomes
    # Centred on the plain mean: the variance is then not the difference of two large numbers.
    centred = records.outcomes - (records.outcomes.mean() if len(error) else 0.0)
    sums = patient_sums(
        records,
        weights,
        {
            "n": np.ones_like(error),
            "error": error,
            "absolute": np.abs(error),
            "squared": error**2,
            "outcome": centred,
            "outcome_squared": centred**2,
        },
    )
    n = sums["n"]
    variance = ratio(sums["outcome_squared"], n) - ratio(sums["outcome"], n) ** 2
    mean_square = ratio(sums["squared"], n)
    return {
        "rmse": np.sqrt(mean_square),
        "mae": ratio(sums["absolute"], n),
        "r2": 1 - ratio(mean_square, np.where(variance > 1e-12 * np.maximum(mean_square, 1e-300), variance, 0.0)),
        "mean_error": ratio(sums["error"], n),
    }


def _ranked(records: Scored, weights: Weights, score: FloatArray, outcome: FloatArray) -> tuple[FloatArray, FloatArray]:
    """AUROC and average precision, ``[B]`` each."""
    if not len(score):
        undefined = np.full(len(weights), np.nan)
        return undefined, undefined
    order = np.argsort(-score, kind="stable")
    descending = score[order]
    starts = np.flatnonzero(np.concatenate([[True], descending[1:] != descending[:-1]]))
    patients, is_event = records.patient_of_record[order], outcome[order]
    parts = [_ranked_block(block, patients, is_event, starts) for block in blocks(weights, len(score))]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _ranked_block(
    block: Weights, patients: IndexArray, is_event: FloatArray, starts: IndexArray
) -> tuple[FloatArray, FloatArray]:
    # Records along the first axis: taking, adding and accumulating whole rows is many times faster.
    everyone = np.ascontiguousarray(block.T, dtype=np.float64)[patients]
    events = everyone * is_event[:, None]
    if len(starts) < len(everyone):
        everyone, events = np.add.reduceat(everyone, starts, axis=0), np.add.reduceat(events, starts, axis=0)
    above_events, above = np.cumsum(events, axis=0), np.cumsum(everyone, axis=0)
    num_events = above_events[-1].copy()  # not a view: the array is changed below
    num_others = above[-1] - num_events
    precision = np.divide(above_events, above, out=np.zeros_like(above), where=above > 0)
    precision_sum = np.einsum("gb,gb->b", events, precision)
    # A pair of one record with and one without the outcome counts 1 if ordered rightly and 1/2 if tied.
    above_events -= events / 2
    pairs = np.einsum("gb,gb->b", everyone - events, above_events)
    return ratio(pairs, num_events * num_others), ratio(precision_sum, num_events)


def _mean_of_defined(parts: list[FloatArray]) -> FloatArray:
    stacked = np.stack(parts)
    defined = np.isfinite(stacked)
    return ratio(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))


def _bounded(probability: FloatArray) -> FloatArray:
    return np.clip(probability, _SMALLEST_PROBABILITY, 1.0)
