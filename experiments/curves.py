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
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, QuantileTerms

_MOST_POINTS: Final = 200
"""Points of a curve in the report: more are not visible and make the file large."""
_THRESHOLDS: Final = np.arange(1, 100) / 100
_BINS: Final = 10
_RESIDUAL_BINS: Final = 24
_RECORDS_PER_BIN: Final = 10
"""Fewer records make fewer bins: a bin of three says nothing."""


def curves(
    setting: str, records: Scored, *, levels: tuple[str, ...], unit: str, confidence_level: float
) -> Curves | None:
    """The curves that fit the task, or ``None`` without records.

    Args:
        setting: Name of the training setting.
        records: All sites' test records.
        levels: Names of the outcome's classes (multiclass).
        unit: Unit of scores and outcomes (regression).
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
        case QuantileTerms() | DiscreteTimeTerms() | CoxTerms():
            return None
        case _:
            assert_never(records.task)


def _binary(setting: str, records: Scored, confidence_level: float) -> BinaryCurves:
    from sklearn.metrics import precision_recall_curve, roc_curve

    outcomes, risks = records.outcomes, records.scores
    roc = precision_recall = None
    if 0 < outcomes.sum() < len(outcomes):
        false_positive, sensitivity, _ = roc_curve(outcomes, risks)
        precision, recall, _ = precision_recall_curve(outcomes, risks)
        roc = _thinned(false_positive, sensitivity)
        precision_recall = _thinned(recall[::-1], precision[::-1])
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
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(
        records.outcomes.astype(np.int64), records.scores.argmax(axis=1), labels=list(range(len(levels)))
    )
    return MulticlassCurves(
        setting=setting, levels=levels, confusion=tuple(tuple(int(count) for count in row) for row in counts)
    )


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
