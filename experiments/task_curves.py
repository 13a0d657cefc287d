"""Curves of quantiles and survival over all sites' test records.

Axis names: R records, K levels or edges, T time bins.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.report.task_curves import Line, QuantileCurves, SurvivalCurves
from experiments.predictions import FloatArray, Scored
from federation.models.survival_metrics import Terms, places_of, risks
from federation.models.task_terms import DiscreteTimeTerms, QuantileTerms

_FEWEST_OF_A_THIRD: Final = 10


def quantile_curves(setting: str, records: Scored, terms: QuantileTerms) -> QuantileCurves:
    """Coverage by level."""
    covered = (records.outcomes[:, None] <= records.scores).mean(axis=0)
    return QuantileCurves(setting=setting, coverage=Line(x=terms.levels, y=tuple(map(float, covered))))


def survival_curves(setting: str, records: Scored, terms: Terms, *, unit: str) -> SurvivalCurves:
    """Predicted and observed survival, and survival by thirds of predicted risk.

    Args:
        setting: Name of the training setting.
        records: All sites' test records, at least one.
        terms: Of the study.
        unit: Of the times.
    """
    predicted = None
    if isinstance(terms, DiscreteTimeTerms):
        said = np.concatenate([[1.0], records.scores.mean(axis=0)])
        predicted = Line(x=(0.0, *terms.edges), y=tuple(map(float, said)))
    risk = records.scores if terms.kind == "cox" else risks(terms, records.scores)
    thirds = np.array_split(np.argsort(risk, kind="stable"), 3)
    enough = min(map(len, thirds)) >= _FEWEST_OF_A_THIRD
    return SurvivalCurves(
        setting=setting,
        unit=unit,
        observed=_kaplan_meier(terms, records.outcomes),
        predicted=predicted,
        by_risk=tuple(_kaplan_meier(terms, records.outcomes[rows]) for rows in thirds) if enough else (),
    )


def _kaplan_meier(terms: Terms, outcomes: FloatArray) -> Line:
    """At the ends of the study's time bins; within a bin, events come before censoring."""
    is_event, place = places_of(terms, outcomes)
    bins = len(terms.bin_edges)
    events = np.bincount(place[is_event], minlength=bins + 1)[:bins]
    everyone: NDArray[np.int64] = np.bincount(place, minlength=bins + 1)
    at_risk = np.cumsum(everyone[::-1])[::-1][:bins]
    kept = np.cumprod(1 - events / np.maximum(at_risk, 1))
    return Line(x=(0.0, *terms.bin_edges), y=(1.0, *map(float, kept)))
