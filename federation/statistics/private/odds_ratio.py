"""The Mantel-Haenszel odds ratio with privacy, from noisy tables of the strata of a variable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.statistics.association import table_parts
from federation.statistics.descriptive_steps import LevelCountStep
from federation.statistics.inference import chi_squared_p, normal_width
from federation.statistics.private.sharing import NOISE, PrivateSolver, shared
from federation.statistics.private_step import Portion
from federation.statistics.result import Cell, Findings, Table, shown

FloatArray = NDArray[np.float64]

_COLUMNS: Final = ("odds ratio", "log odds ratio", "standard error", "lower", "upper", "sampling", "noise")


def tables_release(step: LevelCountStep, *, clipping: float) -> tuple[Portion, ...]:
    """A patient is in one cell."""
    return shared([(step, {"counts": (1.0, 1.0)})], clipping=clipping)


def private_odds_ratio(step: LevelCountStep, *, clipping: float, confidence: float) -> PrivateSolver:
    """The common odds ratio; its standard error includes the noise.

    Args:
        step: Counts of strata by exposure by outcome.
        clipping: Factor of the bound.
        confidence: Of the interval.
    """
    portions = tables_release(step, clipping=clipping)
    sums = yield portions
    deviation = float(sums[NOISE]) * portions[0].scales["counts"]
    counts = np.maximum(sums["0.counts"], 0.0)
    figures: dict[str, float | None] = {"patients": float(sums["0.counts"].sum()), "noise of a cell": deviation}
    r, s, pr, mixed, qs, observed, expected, variance = table_parts(counts).tolist()
    notes = ("the standard error includes the noise; cells of 0 or less count as 0",)
    row: tuple[Cell, ...] = (None,) * len(_COLUMNS)
    if r > 0 and s > 0 and variance > 0:
        log_ratio = math.log(r / s)
        sampling = pr / (2 * r**2) + mixed / (2 * r * s) + qs / (2 * s**2)
        noise = noise_variance(_log_ratio, counts, deviation=deviation)
        error = math.sqrt(sampling + noise)
        width = normal_width(confidence) * error
        ends = (shown(math.exp(min(log_ratio + sign * width, 700.0))) for sign in (-1, 1))
        row = (math.exp(log_ratio), log_ratio, error, *ends, math.sqrt(sampling), math.sqrt(noise))
        spread = variance + noise_variance(_excess, counts, deviation=deviation)
        statistic = (observed - expected) ** 2 / spread
        figures |= {"chi-squared": statistic, "p": chi_squared_p(statistic, 1)}
    else:
        notes += ("no odds ratio: with the noise, a row or column of the table has nobody",)
    table = Table(name="odds_ratio", title="Mantel-Haenszel odds ratio", columns=_COLUMNS, rows=(row,))
    return Findings(figures=figures, tables=(table,), notes=notes)


def noise_variance(figure: Callable[[FloatArray], float], counts: FloatArray, *, deviation: float) -> float:
    """Variance that independent noise of all counts gives a figure, to first order.

    Args:
        figure: Of the counts.
        counts: As they were opened.
        deviation: Of the noise of a count.
    """
    step = max(deviation, 1.0) * 1e-3
    total = 0.0
    for place in np.ndindex(counts.shape):
        moved = counts.copy()
        moved[place] += step
        back = counts.copy()
        back[place] -= min(step, float(counts[place]))
        slope = (figure(moved) - figure(back)) / float(moved[place] - back[place])
        total += (slope * deviation) ** 2
    return total if math.isfinite(total) else math.inf


def _log_ratio(counts: FloatArray) -> float:
    r, s, *_ = table_parts(counts).tolist()
    return math.log(r / s) if r > 0 and s > 0 else math.nan


def _excess(counts: FloatArray) -> float:
    *_, observed, expected, _ = table_parts(counts).tolist()
    return float(observed - expected)
