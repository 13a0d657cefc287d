"""What sites sum for survival analyses: who has an event, who leaves and who enters at each point of an agreed time grid.

Times are rounded up to the next point of the grid, entries down, so that a patient is at risk at the point of the own event. With
a grid of the unit in which times were recorded nothing is rounded.

Axis names: R records, S strata, G groups, K points from 0 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.errors import ImplausibleValueError
from federation.identifiers import VariableName
from federation.statistics.descriptive_steps import Levels, check_codes
from federation.statistics.step import Columns, Shapes, Step

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

_SLACK: Final = 1e-9
"""Of a point: 1.1 / 0.1 is a little more than 11."""
MOST_POINTS: Final = 100_000


class Survival(Document):
    """Which variables say how long a patient was observed, from when, and whether the event came."""

    time: VariableName
    event: VariableName
    entry: VariableName | None = None

    def variables(self) -> frozenset[str]:
        """Their names."""
        return frozenset({self.time, self.event} | (set() if self.entry is None else {self.entry}))

    def read(self, columns: Columns) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """``[R]`` times, events (0 or 1) and entries.

        Raises:
            ImplausibleValueError: If a time is negative, or not after the entry. Says how many.
        """
        time, event = columns.values[self.time], columns.values[self.event]
        entry = None if self.entry is None else columns.values[self.entry]
        negative = int(np.count_nonzero(time < 0)) + (0 if entry is None else int(np.count_nonzero(entry < 0)))
        if negative:
            raise ImplausibleValueError(
                f"expected times from 0, got {negative} that are negative",
                variable=self.time,
                remedy="correct the dates from which the times were taken, or exclude such records by the contract's range",
            )
        early = 0 if entry is None else int(np.count_nonzero(time <= entry))
        if early:
            raise ImplausibleValueError(
                f"expected events and ends after the entry, got {early} records with the end at or before it",
                variable=self.time,
                remedy="correct the dates, or exclude such records from the cohort",
            )
        return time, event, entry


class TimeGrid(Document):
    """Points 0, width, 2 width, ... up to ``points`` times the width."""

    width: Annotated[float, Field(gt=0)]
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)]

    def ends(self, times: FloatArray) -> IndexArray:
        """``[R]`` the point at or after each time."""
        return np.minimum(np.ceil(times / self.width - _SLACK), self.points).astype(np.int64)

    def starts(self, entries: FloatArray) -> IndexArray:
        """``[R]`` the point at or before each entry."""
        return np.minimum(np.floor(entries / self.width + _SLACK), self.points).astype(np.int64)


def codes_of(coded: Levels | None, columns: Columns) -> IndexArray:
    """``[R]`` level of each record; 0 without a variable.

    Raises:
        InvalidInputError: If a level is unknown.
    """
    if coded is None:
        return np.zeros(columns.records, dtype=np.int64)
    column = columns.values[coded.variable]
    codes = np.where(np.isnan(column), -1.0, column).astype(np.int64)
    check_codes(coded, codes)
    return codes


class RiskTableStep(Step):
    """Counts over an agreed grid."""

    kind: Literal["risk_table"] = "risk_table"
    survival: Survival
    grid: TimeGrid
    strata: Levels | None = None
    group: Levels | None = None

    def shapes(self) -> Shapes:
        """``events``, ``leaving`` (event or not) and ``entering``, each ``[S, G, K]``; ``entering`` only if there are entries."""
        strata = 1 if self.strata is None else self.strata.levels
        shape = (strata, 1 if self.group is None else self.group.levels, self.grid.points + 1)
        entering = {} if self.survival.entry is None else {"entering": shape}
        return {"events": shape, "leaving": shape, **entering}

    def variables(self) -> frozenset[str]:
        """Of survival, strata and group."""
        coded = {item.variable for item in (self.strata, self.group) if item is not None}
        return self.survival.variables() | coded

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        time, event, entry = self.survival.read(columns)
        place = (codes_of(self.strata, columns), codes_of(self.group, columns))
        shapes = self.shapes()
        found = {name: np.zeros(shape) for name, shape in shapes.items()}
        ends = self.grid.ends(time)
        np.add.at(found["events"], (*place, ends), event)
        np.add.at(found["leaving"], (*place, ends), 1.0)
        if entry is not None:
            np.add.at(found["entering"], (*place, self.grid.starts(entry)), 1.0)
        return found

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """One at the own end, one if it is an event, one at the entry."""
        time, event, entry = self.survival.read(columns)
        place = (np.arange(columns.records), codes_of(self.strata, columns), codes_of(self.group, columns))
        found = {name: np.zeros((columns.records, *shape)) for name, shape in self.shapes().items()}
        found["events"][(*place, self.grid.ends(time))] = event
        found["leaving"][(*place, self.grid.ends(time))] = 1.0
        if entry is not None:
            found["entering"][(*place, self.grid.starts(entry))] = 1.0
        return found


def at_risk(leaving: FloatArray, entering: FloatArray | None) -> FloatArray:
    """``[..., K]`` how many are observed up to each point and entered before it."""

    def still(counts: FloatArray) -> FloatArray:
        return np.flip(np.cumsum(np.flip(counts, axis=-1), axis=-1), axis=-1)

    return still(leaving) - (0.0 if entering is None else still(entering))


class LogRankStep(Step):
    """Observed and expected events of each group with risk sets within the site, at the exact times."""

    is_additive: ClassVar[bool] = False
    kind: Literal["log_rank"] = "log_rank"
    survival: Survival
    group: Levels

    def shapes(self) -> Shapes:
        """``observed``, ``expected`` ``[G]``, ``variance`` ``[G, G]``, ``patients`` ``[G]``."""
        groups = self.group.levels
        return {"observed": (groups,), "expected": (groups,), "variance": (groups, groups), "patients": (groups,)}

    def variables(self) -> frozenset[str]:
        """Of survival and group."""
        return self.survival.variables() | {self.group.variable}

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        time, event, entry = self.survival.read(columns)
        codes = codes_of(self.group, columns)
        points = np.unique(time[event == 1])
        shape = (self.group.levels, len(points))
        events, risk = np.zeros(shape), np.zeros(shape)
        happened = event == 1
        np.add.at(events, (codes[happened], np.searchsorted(points, time[happened])), 1.0)
        for group in range(self.group.levels):
            chosen = codes == group
            ends = np.sort(time[chosen])
            risk[group] = len(ends) - np.searchsorted(ends, points, side="left")
            if entry is not None:
                starts = np.sort(entry[chosen])
                risk[group] -= len(starts) - np.searchsorted(starts, points, side="left")
        return {
            **log_rank_parts(events, risk),
            "patients": np.bincount(codes, minlength=self.group.levels).astype(np.float64),
        }


def log_rank_parts(events: FloatArray, risk: FloatArray) -> dict[str, FloatArray]:
    """Observed, expected and hypergeometric variance of one stratum (Mantel 1966; Kalbfleisch & Prentice 2002, section 1.4).

    Args:
        events: ``[G, K]`` at each point.
        risk: ``[G, K]`` at risk.
    """
    all_events, all_risk = events.sum(axis=0), risk.sum(axis=0)
    used = (all_events > 0) & (all_risk > 0)
    events, risk, all_events, all_risk = events[:, used], risk[:, used], all_events[used], all_risk[used]
    share = risk / all_risk
    spread = all_events * (all_risk - all_events) / np.maximum(all_risk - 1.0, 1.0)
    variance = np.diag((share * spread).sum(axis=1)) - (share * spread) @ share.T
    return {"observed": events.sum(axis=1), "expected": (share * all_events).sum(axis=1), "variance": variance}
