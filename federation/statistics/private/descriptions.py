"""Descriptive tables with privacy, from one noisy sum of moments, histograms and counts of levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import Continuous, Integer, Variable
from federation.statistics.descriptive import level_names, quantile_grid
from federation.statistics.descriptive_steps import Grid, HistogramStep, MomentStep, Scaled
from federation.statistics.private.sharing import NOISE, Parts, PrivateSolver, counted, shared
from federation.statistics.private.tables import levels_step
from federation.statistics.private_step import AdditiveStep, Portion
from federation.statistics.result import Cell, Findings, Table, shown
from federation.statistics.step import Sums

FloatArray = NDArray[np.float64]

MOST_BINS: Final = 64
"""Of a histogram with noise: the sum of many bins has the noise of each."""
_COUNT: Final = 0.5


@dataclass(frozen=True)
class PrivateDescription:
    """What is described.

    Args:
        variables: Of the contract.
        clipping: Factor of the bounds.
        quantiles: Between 0 and 1.
        bins: Of a histogram.
    """

    variables: tuple[Variable, ...]
    clipping: float
    quantiles: tuple[float, ...]
    bins: int

    @property
    def numbers(self) -> tuple[Continuous | Integer, ...]:
        """Those with moments."""
        return tuple(each for each in self.variables if isinstance(each, Continuous | Integer))

    @property
    def coded(self) -> tuple[Variable, ...]:
        """Those with levels."""
        return tuple(each for each in self.variables if not isinstance(each, Continuous | Integer))

    @property
    def scaled(self) -> tuple[Scaled, ...]:
        """The numbers moved to [-1, 1] by their ranges."""
        return tuple(
            Scaled(
                variable=each.name, centre=(each.minimum + each.maximum) / 2, scale=(each.maximum - each.minimum) / 2
            )
            for each in self.numbers
        )

    def grid(self, number: Continuous | Integer) -> Grid:
        """Of a number's histogram."""
        return quantile_grid(number, bins=min(self.bins, MOST_BINS))

    def release(self) -> tuple[Portion, ...]:
        """Everything in one vector: each variable has a part of the norm."""
        asked: list[tuple[AdditiveStep, Parts]] = [counted(_COUNT)]
        # The powers of a number within 0.7 of half its range from the middle have a norm below 1.
        moments: Parts = {"known": (1.0, _COUNT), "powers": (1.0, 1.0)}
        asked += [(MomentStep(numbers=(scaled,)), moments) for scaled in self.scaled]
        asked += [(HistogramStep(grid=self.grid(number)), {"counts": (1.0, 1.0)}) for number in self.numbers]
        asked += [(levels_step(variable), {"counts": (1.0, 1.0)}) for variable in self.coded]
        return shared(asked, clipping=self.clipping)


def private_description(asked: PrivateDescription) -> PrivateSolver:
    """Describe every variable.

    Args:
        asked: Variables and bounds.
    """
    portions = asked.release()
    sums = yield portions
    noise = float(sums[NOISE])
    place = 1 + 2 * len(asked.numbers)
    tables = [_numbers(asked, portions, sums, noise)] if asked.numbers else []
    patients = max(float(sums["0.patients"]), 1.0)
    rows: list[tuple[Cell, ...]] = []
    for offset, variable in enumerate(asked.coded):
        counts = np.maximum(sums[f"{place + offset}.counts"], 0.0)
        rows += [
            (variable.name, name, round(float(count)), min(float(count) / patients, 1.0))
            for name, count in zip(level_names(variable), counts, strict=True)
        ]
    notes = []
    if rows:
        columns = ("variable", "level", "patients", "share")
        tables.append(Table(name="levels", title="Levels", columns=columns, rows=tuple(rows)))
        deviation = noise * portions[place].scales["counts"]
        notes.append(
            f"counts of levels carry noise of standard deviation {deviation:.3g}; those of 0 or less are shown as 0"
        )
    if asked.numbers:
        notes.append(f"quantiles are read from noisy histograms of at most {MOST_BINS} bins")
    return Findings(figures={"patients": float(sums["0.patients"])}, tables=tuple(tables), notes=tuple(notes))


def _numbers(asked: PrivateDescription, portions: tuple[Portion, ...], sums: Sums, noise: float) -> Table:
    of_known, of_power = (noise * portions[1].scales[name] for name in ("known", "powers"))
    rows: list[tuple[Cell, ...]] = []
    for place, (number, scaled) in enumerate(zip(asked.numbers, asked.scaled, strict=True), start=1):
        known, powers = float(sums[f"{place}.known"][0]), sums[f"{place}.powers"][0]
        n = max(known, of_known, 1.0)
        first, second, third = (powers / n).tolist()
        # Whatever the noise, a mean is in the plausible range and a variance at most the square of half of it.
        mean = min(max(first, -1.0), 1.0)
        central = min(max(second - mean**2, 0.0), 1.0)
        skewness = (third - 3 * mean * second + 2 * mean**3) / central**1.5 if central > of_power / n else math.nan
        error = scaled.scale * math.sqrt(of_power**2 + (mean * of_known) ** 2) / n
        histogram = sums[f"{place + len(asked.numbers)}.counts"]
        deviation = math.sqrt(central) * scaled.scale
        rows.append(
            (
                number.name,
                max(round(known), 0),
                scaled.centre + mean * scaled.scale,
                error,
                deviation,
                deviation**2,
                shown(skewness),
                *(noisy_quantile(histogram, asked.grid(number), share) for share in asked.quantiles),
            )
        )
    names = ("mean", "noise of the mean", "standard deviation", "variance", "skewness")
    columns = ("variable", "known", *names, *(f"q{100 * q:g}" for q in asked.quantiles))
    return Table(name="numbers", title="Numbers", columns=columns, rows=tuple(rows))


def noisy_quantile(counts: FloatArray, grid: Grid, share: float) -> float:
    """The value at which the cumulative noisy counts, made monotone, reach a share of their end.

    Args:
        counts: Of the bins, as they were opened.
        grid: The bins.
        share: Between 0 and 1.
    """
    summed = np.cumsum(counts)
    # Midway between the least monotone curve above and the largest below.
    above = np.maximum.accumulate(summed)
    below = np.minimum.accumulate(summed[::-1])[::-1]
    reached = np.maximum((above + below) / 2, 0.0)
    if reached[-1] <= 0:
        return float(grid.start + grid.bins * grid.width / 2)
    wanted = share * float(reached[-1])
    place = int(np.searchsorted(reached, wanted - 1e-9 * wanted))
    start = grid.start + place * grid.width
    if grid.width == 1.0 and float(grid.start).is_integer():
        return float(start)
    before = float(reached[place - 1]) if place else 0.0
    return float(start + grid.width * (wanted - before) / max(float(reached[place]) - before, 1e-12))
