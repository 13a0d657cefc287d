"""Occupied beds: from summed cumulants to a forecast with intervals, and how it did.

The distribution is the refined normal approximation (Volkova 1996, Theory Probab Appl 40:791; Hong 2013, Comput Stat Data Anal
59:41, eq. 10), whose error falls with the variance and not with its root.

Axis names: F forecasts, G groups, O origins, H horizons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.disclosure import is_small
from federation.statistics.occupancy_steps import OccupancyStep
from federation.statistics.result import Cell, Findings, Table
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]

EVERYBODY: Final = "all"
ACCURACY: Final = (
    "forecast", "group", "days ahead", "forecasts made", "beds occupied", "mean error", "mean absolute error",
    "in the interval", "width",
)  # fmt: skip
DAYS: Final = ("forecast", "group", "days ahead", "day", "expected", "lower", "upper", "observed")
_LEAST_VARIANCE: Final = 1e-12


@dataclass(frozen=True)
class Forecasting:
    """What is forecast.

    Args:
        step: Origins, horizons and curves.
        titles: Of the forecasts.
        labels: Of the groups.
        level: Of the intervals, as 0.9.
        threshold: Smallest number of occupied beds that is shown for a single day.
    """

    step: OccupancyStep
    titles: tuple[str, ...]
    labels: tuple[str, ...]
    level: float
    threshold: int


def forecast(question: Forecasting) -> Solver[Findings]:
    """One secure sum, then the tables: every day, and over all days.

    Raises:
        InvalidInputError: If no bed was ever occupied.
    """
    sums = yield question.step
    cumulants, observed = sums["cumulants"], sums["observed"]
    if not observed.sum():
        raise InvalidInputError(
            "expected occupied beds on the days of the forecast, got none",
            remedy="choose days on which there are patients",
        )
    accuracy: list[tuple[Cell, ...]] = []
    days: list[tuple[Cell, ...]] = []
    for place, title in enumerate(question.titles):
        parts = [(label, cumulants[place, group], observed[group]) for group, label in enumerate(question.labels)]
        for label, own, seen in [*parts, (EVERYBODY, cumulants[place].sum(axis=0), observed.sum(axis=0))]:
            lower, upper = interval(own, level=question.level)
            accuracy += _accuracy((title, label), own[..., 0], seen, (lower, upper))
            days += _days((title, label), own[..., 0], seen, (lower, upper), question=question)
    return Findings(
        figures={"level": question.level},
        tables=(
            Table(name="accuracy", title="Forecast against observed beds", columns=ACCURACY, rows=tuple(accuracy)),
            Table(name="days", title="Occupied beds day by day", columns=DAYS, rows=tuple(days)),
        ),
    )


def interval(cumulants: FloatArray, *, level: float) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest number of beds of the central interval.

    Args:
        cumulants: ``[..., 3]``.
        level: Chance that the number is inside, at least.

    Returns:
        ``[...]`` whole numbers each.
    """
    tail = (1 - level) / 2
    return quantile(cumulants, tail), quantile(cumulants, 1 - tail)


def quantile(cumulants: FloatArray, chance: float) -> FloatArray:
    """``[...]``: the smallest number that is not exceeded with at least this chance."""
    mean, spread = cumulants[..., 0], np.sqrt(np.maximum(cumulants[..., 1], _LEAST_VARIANCE))
    # Start safely below, and walk up: the distribution is not convex, so there is no shorter way that is always right.
    number = np.maximum(np.floor(mean - 12 * spread) - 1, 0.0)
    for _ in range(int(np.ceil(24 * float(spread.max(initial=0.0)))) + 4):
        short = distribution(cumulants, number) < chance
        if not short.any():
            break
        number = np.where(short, number + 1, number)
    return number


def distribution(cumulants: FloatArray, number: FloatArray) -> FloatArray:
    """Chance of at most ``number`` occupied beds.

    Args:
        cumulants: ``[..., 3]``.
        number: ``[...]`` whole numbers.
    """
    from scipy import stats

    mean, variance, third = (cumulants[..., place] for place in range(3))
    is_sure = variance < _LEAST_VARIANCE
    spread = np.sqrt(np.where(is_sure, 1.0, variance))
    x = (number + 0.5 - mean) / spread
    refined = stats.norm.cdf(x) + third / spread**3 * (1 - x**2) * stats.norm.pdf(x) / 6
    return np.where(is_sure, (number + 0.5 >= mean).astype(np.float64), np.clip(refined, 0.0, 1.0))


def _accuracy(
    names: tuple[str, str], mean: FloatArray, seen: FloatArray, ends: tuple[FloatArray, FloatArray]
) -> Sequence[tuple[Cell, ...]]:
    lower, upper = ends
    errors, inside = mean - seen, (lower <= seen) & (seen <= upper)
    return [
        (
            *names,
            place + 1,
            len(seen),
            float(seen[:, place].mean()),
            float(errors[:, place].mean()),
            float(np.abs(errors[:, place]).mean()),
            float(inside[:, place].mean()),
            float((upper - lower)[:, place].mean()),
        )
        for place in range(seen.shape[1])
    ]


def _days(
    names: tuple[str, str],
    mean: FloatArray,
    seen: FloatArray,
    ends: tuple[FloatArray, FloatArray],
    *,
    question: Forecasting,
) -> Sequence[tuple[Cell, ...]]:
    hidden = is_small(seen, question.threshold)
    return [
        (
            *names,
            place + 1,
            origin + place + 1,
            float(mean[row, place]),
            *(int(end[row, place]) for end in ends),
            None if hidden[row, place] else round(float(seen[row, place])),
        )
        for place in range(seen.shape[1])
        for row, origin in enumerate(question.step.origins)
    ]
