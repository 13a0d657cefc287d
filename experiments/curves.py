"""Curves of one training setting over all sites' test records: ROC, precision-recall, calibration, net benefit, kin."""

from __future__ import annotations

from typing import Final, assert_never

import numpy as np

from aggregator.report.content import (
    BinaryCurves,
    CalibrationBin,
    Curves,
    Line,
    MulticlassCurves,
    PredictionBin,
    RegressionCurves,
)
from experiments.bootstrap import wilson_interval
from experiments.predictions import FloatArray, IndexArray, Scored
from experiments.task_curves import quantile_curves, survival_curves
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, QuantileTerms

_MOST_POINTS: Final = 200
"""Points of a curve in the report: more are not visible and make the file large."""
_THRESHOLDS: Final = np.arange(1, 100) / 100
_BINS: Final = 10
_RESIDUAL_BINS: Final = 24
_RECORDS_PER_BIN: Final = 10
"""Fewer records make fewer bins: a bin of three says nothing."""


def curves(  # noqa: PLR0911 - one line for each task
    setting: str, records: Scored, *, levels: tuple[str, ...], unit: str, confidence_level: float
) -> Curves | None:
    """The curves that fit the task, or ``None`` without records.

    Args:
        setting: Name of the training setting.
        records: All sites' test records.
        levels: Names of the outcome's classes (multiclass).
        unit: Unit of scores and outcomes (regression, counts), of times (survival).
        confidence_level: Of the calibration plot's intervals.
    """
    if not len(records.outcomes):
        return None
    match records.task:
        case "binary":
            return _binary(setting, records, confidence_level)
        case "multiclass":
            return _multiclass(setting, records, levels)
        case "regression" | "count":
            return _regression(setting, records, unit)
        case "segmentation":
            return None
        case QuantileTerms():
            return quantile_curves(setting, records, records.task)
        case DiscreteTimeTerms() | CoxTerms():
            return survival_curves(setting, records, records.task, unit=unit)
        case _:
            assert_never(records.task)


def _binary(setting: str, records: Scored, confidence_level: float) -> BinaryCurves:
    outcomes, risks = records.outcomes, records.scores
    roc = precision_recall = None
    if 0 < outcomes.sum() < len(outcomes):
        roc = _thinned(*roc_points(outcomes, risks))
        precision_recall = _thinned(*precision_recall_points(outcomes, risks))
    return BinaryCurves(
        setting=setting,
        prevalence=float(outcomes.mean()),
        roc=roc,
        precision_recall=precision_recall,
        calibration=_calibration(records, confidence_level),
        net_benefit=Line(x=_rounded(_THRESHOLDS), y=_rounded(net_benefit(outcomes, risks, _THRESHOLDS))),
        net_benefit_treat_all=Line(
            x=_rounded(_THRESHOLDS), y=_rounded(net_benefit(outcomes, np.ones_like(risks), _THRESHOLDS))
        ),
    )


def _found(outcomes: FloatArray, risks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """False and true positives at every threshold that differs, from the highest."""
    order = np.argsort(risks, kind="stable")[::-1]
    ranked = risks[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true_positives = np.cumsum(outcomes[order], dtype=np.float64)[last]
    return 1 + last - true_positives, true_positives


def roc_points(outcomes: FloatArray, risks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The receiver operating characteristic, without points on a straight line between their neighbours.

    Args:
        outcomes: ``[R]`` 0 or 1, both of them.
        risks: ``[R]`` finite.

    Returns:
        False positive rate and sensitivity, from (0, 0) to (1, 1).
    """
    false, true = _found(outcomes, risks)
    if len(false) > 2:  # noqa: PLR2004 - ends stay
        bends = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
        chosen = np.concatenate([[True], bends, [True]])
        false, true = false[chosen], true[chosen]
    false, true = np.append(0.0, false), np.append(0.0, true)
    return false / false[-1], true / true[-1]


def precision_recall_points(outcomes: FloatArray, risks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Recall and precision at every threshold that differs, from recall 0, where precision is called 1.

    Args:
        outcomes: ``[R]`` 0 or 1, both of them.
        risks: ``[R]`` finite.
    """
    false, true = _found(outcomes, risks)
    return np.append(0.0, true / true[-1]), np.append(1.0, true / (true + false))


def net_benefit(outcomes: FloatArray, risks: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Net benefit of treating whoever's risk reaches a threshold (Vickers & Elkin 2006, Med Decis Making 26).

    Args:
        outcomes: ``[R]`` 0 or 1, at least one record.
        risks: ``[R]`` in [0, 1].
        thresholds: ``[T]`` inside (0, 1).

    Returns:
        ``[T]``: true positives per record minus false positives per record weighted by the odds of the threshold.
    """
    order = np.argsort(risks)
    # Records at or above a threshold are the tail of the sorted ones.
    first = np.searchsorted(risks[order], thresholds, side="left")
    events_below = np.concatenate([[0.0], np.cumsum(outcomes[order])])
    true_positive = events_below[-1] - events_below[first]
    false_positive = len(risks) - first - true_positive
    return (true_positive - false_positive * thresholds / (1 - thresholds)) / len(risks)


def _calibration(records: Scored, confidence_level: float) -> tuple[CalibrationBin, ...]:
    outcomes, risks = records.outcomes, records.scores
    bins: list[CalibrationBin] = []
    for chosen in _equal_groups(risks):
        # Records of a patient are not independent: the interval is as wide as if each patient counted once.
        patients = len(np.unique(records.patient_of_record[chosen]))
        lower, upper = wilson_interval(
            float(outcomes[chosen].mean()) * patients, patients, confidence_level=confidence_level
        )
        bins.append(
            CalibrationBin(
                predicted=float(risks[chosen].mean()),
                observed=float(outcomes[chosen].mean()),
                lower=lower,
                upper=upper,
                records=len(chosen),
            )
        )
    return tuple(bins)


def _equal_groups(values: FloatArray) -> list[IndexArray]:
    """Records in groups of about equal size by value; tied values stay together."""
    wanted = max(1, min(_BINS, len(values) // _RECORDS_PER_BIN))
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    cuts = np.searchsorted(ranked, np.quantile(ranked, np.arange(1, wanted) / wanted), side="left")
    return [group for group in np.split(order, np.unique(cuts)) if len(group)]


def _multiclass(setting: str, records: Scored, levels: tuple[str, ...]) -> MulticlassCurves:
    counts = np.zeros((len(levels), len(levels)), dtype=np.int64)
    np.add.at(counts, (records.outcomes.astype(np.int64), records.scores.argmax(axis=1)), 1)
    return MulticlassCurves(setting=setting, levels=levels, confusion=tuple(tuple(row) for row in counts.tolist()))


def _regression(setting: str, records: Scored, unit: str) -> RegressionCurves:
    bins: list[PredictionBin] = []
    for chosen in _equal_groups(records.scores):
        observed = records.outcomes[chosen]
        lower, upper = np.quantile(observed, (0.1, 0.9))
        bins.append(
            PredictionBin(
                predicted=float(records.scores[chosen].mean()),
                observed=float(observed.mean()),
                lower=float(lower),
                upper=float(upper),
                records=len(chosen),
            )
        )
    # Edges depend on the outcomes alone, so that all settings share them; the tails fall into the end bins.
    reach = 3 * float(records.outcomes.std()) or 1.0
    edges = np.linspace(-reach, reach, _RESIDUAL_BINS + 1)
    counts, _ = np.histogram(np.clip(records.scores - records.outcomes, -reach, reach), bins=edges)
    return RegressionCurves(
        setting=setting,
        unit=unit,
        bins=tuple(bins),
        residual_edges=_rounded(edges),
        residual_counts=tuple(int(count) for count in counts),
    )


def _thinned(x: FloatArray, y: FloatArray) -> Line:
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(np.int64))
    return Line(x=_rounded(x[chosen]), y=_rounded(y[chosen]))


def _rounded(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
