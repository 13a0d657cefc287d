"""Survival curves with privacy, from one noisy risk table.

Of every patient the table has one cell where it leaves, one for its event and one for its entry. Numbers at risk are sums of later
cells, so their noise grows with the number of points after them: a coarse grid is better. Curves are made from events cut to what
can be (from 0 to the number at risk), which makes survival fall from 1 and never rise.

Axis names: G groups, K points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.statistics.inference import normal_width
from federation.statistics.private.sharing import NOISE, PrivateSolver, shared
from federation.statistics.private_step import Portion
from federation.statistics.result import Cell, Findings, Table
from federation.statistics.step import Sums
from federation.statistics.survival import CURVE_COLUMNS
from federation.statistics.survival_steps import RiskTableStep, at_risk

FloatArray = NDArray[np.float64]

_LEAST: Final = 2.0
"""Curves end where fewer are at risk than this many standard deviations of that number's noise."""


@dataclass(frozen=True)
class NoisyTable:
    """A noisy risk table.

    Args:
        events: ``[S, G, K]`` as opened.
        leaving: Likewise.
        entering: Likewise; ``None``: everybody from the beginning.
        of_events: Standard deviation of the noise of a cell.
        of_leaving: Likewise, entries too.
    """

    events: FloatArray
    leaving: FloatArray
    entering: FloatArray | None
    of_events: float
    of_leaving: float

    @classmethod
    def of(cls, sums: Sums, portions: tuple[Portion, ...], *, place: int = 0) -> NoisyTable:
        """From an opened release."""
        noise, scales = float(sums[NOISE]), portions[place].scales
        return cls(
            events=sums[f"{place}.events"],
            leaving=sums[f"{place}.leaving"],
            entering=sums.get(f"{place}.entering"),
            of_events=noise * scales["events"],
            of_leaving=noise * scales["leaving"],
        )

    @property
    def risk(self) -> FloatArray:
        """``[S, G, K]`` at risk, not negative, and without entries not rising."""
        found = at_risk(self.leaving, self.entering)
        if self.entering is None:
            above = np.flip(np.maximum.accumulate(np.flip(found, axis=-1), axis=-1), axis=-1)
            below = np.minimum.accumulate(found, axis=-1)
            found = (above + below) / 2
        return np.maximum(found, 0.0)

    @property
    def of_risk(self) -> FloatArray:
        """``[K]`` standard deviation of the noise of the numbers at risk."""
        points = self.leaving.shape[-1]
        cells = np.arange(points, 0, -1) * (1 if self.entering is None else 2)
        return self.of_leaving * np.sqrt(cells)

    @property
    def happened(self) -> FloatArray:
        """``[S, G, K]`` events, from 0 to the number at risk."""
        return np.clip(self.events, 0.0, self.risk)

    @property
    def patients(self) -> FloatArray:
        """``[S, G]``."""
        return self.leaving.sum(axis=-1)


def risk_table_release(step: RiskTableStep, *, clipping: float) -> tuple[Portion, ...]:
    """A patient is in one cell of each table."""
    return shared([(step, dict.fromkeys(step.shapes(), (1.0, 1.0)))], clipping=clipping)


def private_curves(step: RiskTableStep, names: tuple[str, ...], *, confidence: float, clipping: float) -> PrivateSolver:
    """Kaplan-Meier and Nelson-Aalen estimates; standard errors include the noise.

    Args:
        step: Of one stratum.
        names: Of the groups.
        confidence: Of pointwise intervals.
        clipping: Factor of the bounds.
    """
    portions = risk_table_release(step, clipping=clipping)
    sums = yield portions
    table = NoisyTable.of(sums, portions)
    rows: list[tuple[Cell, ...]] = []
    summary: list[tuple[Cell, ...]] = []
    for group, name in enumerate(names):
        curve = _curve(table, group, width=step.grid.width, confidence=confidence)
        rows += [(name, *row) for row in curve]
        median = next((row[0] for row in curve if isinstance(row[3], float) and row[3] <= 0.5), None)  # noqa: PLR2004
        counts = (table.patients[0, group], table.events[0, group].sum())
        summary.append((name, *(max(round(float(count)), 0) for count in counts), median))
    return Findings(
        figures={"patients": float(table.patients.sum()), "noise of a cell": table.of_leaving},
        tables=(
            Table(
                name="groups", title="Groups", columns=("group", "patients", "events", "median"), rows=tuple(summary)
            ),
            Table(name="curves", title="Survival", columns=CURVE_COLUMNS, rows=tuple(rows)),
        ),
        notes=(
            f"times are rounded up to multiples of {step.grid.width:g}; standard errors include the noise",
            "curves end where the noise hides how many are at risk",
        ),
    )


def _curve(table: NoisyTable, group: int, *, width: float, confidence: float) -> list[tuple[Cell, ...]]:
    """A row for each point at which the noise does not hide the number at risk, but for time 0."""
    risk, events = table.risk[0, group], table.happened[0, group]
    is_seen = risk > _LEAST * table.of_risk
    # From the first point on at which the noise does not hide who is at risk, which with entries need not be the first of all.
    is_seen &= np.cumsum(np.maximum.accumulate(is_seen) & ~is_seen) == 0
    events, safe = np.where(is_seen, events, 0.0), np.maximum(risk, 1.0)
    left = np.maximum(safe - events, 1.0)
    survival, hazard = np.cumprod(1.0 - np.minimum(events / safe, 1.0)), np.cumsum(events / safe)
    of_log = np.cumsum(events / (safe * left)) + _noise(table, 1.0 / left, events / (safe * left))
    of_hazard = np.cumsum(events / safe**2) + _noise(table, 1.0 / safe, events / safe**2)
    quantile = normal_width(confidence)
    rows: list[tuple[Cell, ...]] = []
    for point in (np.flatnonzero(is_seen[1:]) + 1).tolist():
        s, error = float(survival[point]), float(survival[point] * np.sqrt(of_log[point]))
        ends = (max(s - quantile * error, 0.0), min(s + quantile * error, 1.0))
        counts = (round(float(risk[point])), round(float(events[point])))
        rows.append((point * width, *counts, s, error, *ends, float(hazard[point]), float(np.sqrt(of_hazard[point]))))
    return rows


def _noise(table: NoisyTable, of_event: FloatArray, of_risk: FloatArray) -> FloatArray:
    """``[K]`` variance of a sum over points that the noise gives it, to first order.

    Args:
        table: Sizes of the noise.
        of_event: ``[K]`` how much the sum moves with the events of a point.
        of_risk: ``[K]`` how much with the number at risk there, which is a sum of all later cells.
    """
    points = np.arange(len(of_event))
    summed = np.cumsum(of_risk)
    in_cells = np.cumsum(summed**2) + (len(points) - 1 - points) * summed**2
    tables = 1 if table.entering is None else 2
    return table.of_events**2 * np.cumsum(of_event**2) + tables * table.of_leaving**2 * in_cells
