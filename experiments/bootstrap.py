"""Confidence intervals by the cluster bootstrap: patients are drawn, never records.

Records of one patient resemble each other, so drawing records would pretend to more information than there is. Sites
are fixed: patients are drawn within each site (a stratified bootstrap), and every training setting is judged on the
same draws.
Source: Field & Welsh 2007, *Bootstrapping clustered data*, JRSS B 69(3); percentile intervals: Efron & Tibshirani 1993,
chapter 13.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from scipy.special import ndtri

from aggregator.report.content import Estimate
from experiments.predictions import FloatArray
from experiments.resampled_metrics import Weights

_SMALLEST_DEFINED_FRACTION: Final = 0.5
"""Below it, too few draws define a metric for percentiles to mean anything."""
_NOTED_DEFINED_FRACTION: Final = 0.95
_ONE_CLASS: Final = "not defined (one outcome class)"
NOT_DEFINED: Final = {
    "auroc": _ONE_CLASS,
    "average_precision": _ONE_CLASS,
    "macro_auroc": _ONE_CLASS,
    "sensitivity": "not defined (no record with the outcome)",
    "specificity": "not defined (all records with the outcome)",
    "r2": "not defined (all outcomes equal)",
}


def draw_patients(num_patients: int, *, samples: int, generator: np.random.Generator) -> Weights:
    """Draw as many patients as there are, with replacement, ``samples`` times.

    Args:
        num_patients: P, at least 0.
        samples: B, at least 0.
        generator: Source of the draws.

    Returns:
        ``[B, P]``: how often each patient was drawn; every row sums to P.
    """
    drawn = np.zeros((samples, num_patients), dtype=np.uint16)
    if num_patients:
        for row in drawn:
            row[:] = np.bincount(generator.integers(0, num_patients, size=num_patients), minlength=num_patients)
    return drawn


def estimates(
    point: Mapping[str, float],
    draws: Mapping[str, FloatArray],
    *,
    confidence_level: float,
    num_patients: int,
    shares: Mapping[str, int] | None = None,
) -> dict[str, Estimate]:
    """Point estimates with percentile intervals.

    Args:
        point: Metric name to its value on the patients themselves; NaN if not defined.
        draws: Metric name to ``[B]`` values on the draws; NaN where not defined.
        confidence_level: Such as 0.95.
        num_patients: Patients behind the figures.
        shares: Metrics that are shares of patients to the number of patients they are shares of: where all draws agree,
            such as with no error at all, they get Wilson's interval; others get none.
    """
    return {
        name: _degenerate(estimate, (shares or {}).get(name), confidence_level=confidence_level)
        if estimate.lower is not None and estimate.lower == estimate.upper
        else estimate
        for name, value in point.items()
        for estimate in (
            _estimate(name, value, draws[name], confidence_level=confidence_level, num_patients=num_patients),
        )
    }


def _estimate(name: str, value: float, draws: FloatArray, *, confidence_level: float, num_patients: int) -> Estimate:
    if not math.isfinite(value):
        return Estimate(value=None, note=NOT_DEFINED.get(name, "not defined (no records)"))
    if not len(draws):
        return Estimate(value=value)
    if num_patients < 2:  # noqa: PLR2004 - a single patient
        return Estimate(value=value, note="one patient: no interval")
    defined = draws[np.isfinite(draws)]
    share = len(defined) / len(draws)
    if share < _SMALLEST_DEFINED_FRACTION:
        return Estimate(value=value, note="too few patients of one outcome class for an interval")
    tail = (1 - confidence_level) / 2
    lower, upper = (float(bound) for bound in np.quantile(defined, (tail, 1 - tail)))
    note = "" if share >= _NOTED_DEFINED_FRACTION else f"interval from the {share:.0%} of draws in which it is defined"
    return Estimate(value=value, lower=lower, upper=upper, note=note)


def _degenerate(estimate: Estimate, patients: int | None, *, confidence_level: float) -> Estimate:
    """All draws agree, such as with no error among few patients: a width of zero would claim certainty."""
    if estimate.value is None or not patients:
        return Estimate(value=estimate.value, note="no interval: all draws agree")
    lower, upper = wilson_interval(estimate.value * patients, patients, confidence_level=confidence_level)
    return Estimate(value=estimate.value, lower=lower, upper=upper, note="Wilson interval")


def wilson_interval(events: float, total: float, *, confidence_level: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927, JASA 22).

    Args:
        events: From 0 to ``total``.
        total: Above 0.
        confidence_level: Such as 0.95.
    """
    z = float(ndtri(0.5 + confidence_level / 2))
    share = events / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_over_seeds(values: Sequence[float], *, confidence_level: float) -> tuple[float, float] | None:
    """Student's t interval of the mean over repetitions, or ``None`` with fewer than two.

    Args:
        values: One figure per seed, finite.
        confidence_level: Such as 0.95.
    """
    if len(values) < 2:  # noqa: PLR2004 - a spread needs two
        return None
    from scipy.stats import t  # takes most of a second to import

    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = float(t.ppf(0.5 + confidence_level / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return mean - half, mean + half
