"""Survival curves of stays: the chance that a patient is still there some days after admission, from each kind of prediction.

Axis names: R patients, K knots (days after admission).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]

TAIL_DAYS: Final = 7.0
"""Mean of what is left of a stay after the last band ends: a public constant, as the last band has no end."""


_SMALLEST: Final = 1e-12


def knots_up_to(longest: float) -> tuple[float, ...]:
    """Days at which curves are known: every day of two weeks, then ever farther apart, up to the longest plausible stay."""
    later = (17.0, 21.0, 28.0, 42.0, 60.0, 90.0, 140.0)
    return (*(float(day) for day in range(1, 15)), *(day for day in later if day < longest), float(longest))


def curve_of_bands(chances: FloatArray, *, ends: tuple[float, ...], knots: tuple[float, ...]) -> FloatArray:
    """``[R, K]`` from the chance of each band.

    Args:
        chances: ``[R, B]`` of bands that follow each other; the last is open.
        ends: ``[B - 1]`` days.
        knots: ``[K]`` days.
    """
    total = chances.sum(axis=1, keepdims=True)
    return curve_at(1 - np.cumsum(chances / total, axis=1)[:, :-1], edges=ends, knots=knots)


def curve_at(beyond: FloatArray, *, edges: tuple[float, ...], knots: tuple[float, ...]) -> FloatArray:
    """``[R, K]`` from the chance to be still there at some edges.

    Between edges patients leave at a constant rate, so that more leave early in an interval than late, as they do. Beyond the last
    what is left of a stay is :data:`TAIL_DAYS` in the mean.

    Args:
        beyond: ``[R, B]``, not increasing.
        edges: ``[B]`` days.
        knots: ``[K]`` days.
    """
    known = np.log(np.concatenate([np.ones((len(beyond), 1)), np.clip(beyond, _SMALLEST, 1.0)], axis=1))
    days, at = np.array([0.0, *edges]), np.array(knots)
    place = np.clip(np.searchsorted(days, at, side="left") - 1, 0, len(days) - 2)
    part = np.minimum((at - days[place]) / (days[place + 1] - days[place]), 1.0)
    inner = known[:, place] + (known[:, place + 1] - known[:, place]) * part
    return np.exp(inner - np.maximum(at - days[-1], 0.0) / TAIL_DAYS)


def curve_of_counts(expected: FloatArray, *, knots: tuple[float, ...]) -> FloatArray:
    """``[R, K]`` if completed days are Poisson: a stay reaches day k if at least k days are completed.

    Args:
        expected: ``[R]`` completed days.
        knots: ``[K]`` whole days.
    """
    return stats.poisson.sf(np.array(knots) - 1, expected[:, None])


def curve_of_quantiles(quantiles: FloatArray, *, levels: tuple[float, ...], knots: tuple[float, ...]) -> FloatArray:
    """``[R, K]`` from quantiles of the stay: straight between them, falling beyond the last as between the last two.

    Args:
        quantiles: ``[R, Q]`` days. Quantiles that cross are put in order (Chernozhukov et al. 2010, Econometrica 78:1093).
        levels: ``[Q]``, at least two.
        knots: ``[K]`` days.
    """
    ordered = np.maximum(np.sort(quantiles, axis=1), _SMALLEST)
    at, chances = np.array(knots), np.array([1.0, *(1 - level for level in levels)])
    inner = np.array([np.interp(at, [0.0, *row], chances) for row in ordered])
    mean = (ordered[:, -1] - ordered[:, -2]) / np.log(chances[-2] / chances[-1])
    later = np.maximum(at - ordered[:, -1:], 0.0) / np.maximum(mean, _SMALLEST)[:, None]
    return np.where(later > 0, chances[-1] * np.exp(-later), inner)


def observed_curve(stays: FloatArray, *, knots: tuple[float, ...]) -> FloatArray:
    """``[K]``: share of past patients who were still there."""
    return (stays[:, None] > np.array(knots)).mean(axis=0)


def exponential_curve(mean: float, *, knots: tuple[float, ...]) -> FloatArray:
    """``[K]`` if all that is known is how long patients stay in the mean."""
    return np.exp(-np.array(knots) / mean)


def time_of(curves: FloatArray, chance: float, *, knots: tuple[float, ...]) -> FloatArray:
    """``[R]`` days after which the chance to be still there has fallen to ``chance``; the last knot where it never does.

    Args:
        curves: ``[R, K]``, not increasing.
        chance: In (0, 1).
        knots: ``[K]`` days.
    """
    days = np.array([0.0, *knots])
    known = np.concatenate([np.ones((len(curves), 1)), curves], axis=1)
    # np.interp wants rising abscissae: turned round, a falling curve rises.
    return np.array([np.interp(chance, row[::-1], days[::-1]) for row in known])
