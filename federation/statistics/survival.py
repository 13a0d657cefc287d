"""Kaplan-Meier and Nelson-Aalen curves and the log-rank test from summed risk tables.

Kaplan & Meier 1958; Greenwood 1926 for its variance, intervals on the scale of log(-log S); Nelson 1972, Aalen 1978; log-rank as
in :func:`~federation.statistics.survival_steps.log_rank_parts`.

A step of a curve is an event of a patient. A curve is therefore shown only at points between which at least the threshold of
events lie and while at least so many are at risk; its values there are those of all events. Numbers at risk are rounded down to
multiples of the threshold.

Axis names: S strata, G groups, K points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.descriptive_steps import Levels
from federation.statistics.disclosure import is_small
from federation.statistics.inference import chi_squared_p, normal_width
from federation.statistics.result import Cell, Findings, Table, shown
from federation.statistics.step import Solver, Sums
from federation.statistics.survival_steps import (
    LogRankStep,
    RiskTableStep,
    Survival,
    TimeGrid,
    at_risk,
    log_rank_parts,
)

FloatArray = NDArray[np.float64]

CURVE_COLUMNS = (
    "group", "time", "at risk", "events", "survival", "standard error", "lower", "upper", "cumulative hazard",
    "hazard standard error",
)  # fmt: skip


def curves(
    survival: Survival,
    grid: TimeGrid,
    *,
    threshold: int,
    confidence: float,
    group: Levels | None = None,
    names: tuple[str, ...] = ("all",),
) -> Solver[Findings]:
    """Kaplan-Meier and Nelson-Aalen estimates of every group.

    Args:
        survival: Times and events.
        grid: Agreed.
        threshold: Fewest events between two points that are shown.
        confidence: Of pointwise intervals.
        group: ``None``: everybody together.
        names: Of the groups.

    Raises:
        InvalidInputError: If a group has no patient.
    """
    sums = yield RiskTableStep(survival=survival, grid=grid, group=group)
    events, risk = _tables(sums)
    patients = sums["leaving"].sum(axis=(0, 2))
    _check_groups(patients, names)
    rows: list[tuple[Cell, ...]] = []
    summary: list[tuple[Cell, ...]] = []
    for place, name in enumerate(names):
        curve = Curve(events[0, place], risk[0, place], width=grid.width, confidence=confidence)
        rows += [(name, *row) for row in curve.rows(threshold)]
        number = float(events[0, place].sum())
        is_hidden = bool(is_small(np.array([patients[place], number, patients[place] - number]), threshold).any())
        counts = (None, None) if is_hidden else (round(float(patients[place])), round(number))
        summary.append((name, *counts, curve.median(threshold)))
    return Findings(
        tables=(
            Table(
                name="groups", title="Groups", columns=("group", "patients", "events", "median"), rows=tuple(summary)
            ),
            Table(name="curves", title="Survival", columns=CURVE_COLUMNS, rows=tuple(rows)),
        ),
        notes=(
            f"times are rounded up to multiples of {grid.width:g}; between two points lie at least {threshold} events",
        ),
    )


class Curve:
    """One group's estimates.

    Args:
        events: ``[K]``.
        risk: ``[K]``.
        width: Of the grid.
        confidence: Of the intervals.
    """

    def __init__(self, events: FloatArray, risk: FloatArray, *, width: float, confidence: float) -> None:
        self._events, self._risk, self._width, self._confidence = events, risk, width, confidence
        safe = np.maximum(risk, 1.0)
        self.survival: FloatArray = np.cumprod(1.0 - events / safe).astype(np.float64)
        self.hazard: FloatArray = np.cumsum(events / safe)
        left = np.maximum(risk - events, 1.0)
        self._greenwood: FloatArray = np.cumsum(np.where(risk > events, events / (safe * left), 0.0))
        self._hazard_variance: FloatArray = np.cumsum(events / safe**2)

    def rows(self, threshold: int) -> list[tuple[Cell, ...]]:
        """The points that are shown."""
        rows: list[tuple[Cell, ...]] = []
        since = 0.0
        for point in np.flatnonzero(self._events > 0).tolist():
            since += float(self._events[point])
            if since < threshold or self._risk[point] < threshold:
                continue
            lower, upper = self._interval(point)
            s = float(self.survival[point])
            rows.append(
                (
                    point * self._width,
                    int(self._risk[point] // threshold) * threshold,
                    round(since),
                    s,
                    s * float(np.sqrt(self._greenwood[point])),
                    lower,
                    upper,
                    float(self.hazard[point]),
                    float(np.sqrt(self._hazard_variance[point])),
                )
            )
            since = 0.0
        return rows

    def median(self, threshold: int) -> Cell:
        """The first shown time at which at most half survive; nothing if the curve does not get there."""
        return next((row[0] for row in self.rows(threshold) if isinstance(row[3], float) and row[3] <= 0.5), None)  # noqa: PLR2004

    def _interval(self, point: int) -> tuple[Cell, Cell]:
        s = float(self.survival[point])
        if not 0 < s < 1:
            return None, None
        spread = normal_width(self._confidence) * float(np.sqrt(self._greenwood[point])) / np.log(s)
        centre = np.log(-np.log(s))
        ends = sorted(float(np.exp(-np.exp(centre + sign * spread))) for sign in (-1, 1))
        return shown(ends[0]), shown(ends[1])


def log_rank(
    survival: Survival,
    group: Levels,
    names: tuple[str, ...],
    *,
    threshold: int,
    grid: TimeGrid | None,
    strata: Levels | None = None,
) -> Solver[Findings]:
    """The log-rank test of equal survival in all groups.

    Args:
        survival: Times and events.
        group: At least two.
        names: Of the groups.
        threshold: Fewest patients of a group.
        grid: Of risk sets over all sites; ``None``: stratified by site, with risk sets within sites at the exact times.
        strata: A variable to stratify by, with a grid.

    Raises:
        InvalidInputError: If a group or stratum has no patient.
    """
    if grid is None:
        sums = yield LogRankStep(survival=survival, group=group)
        parts, patients = dict(sums), sums["patients"]
    else:
        sums = yield RiskTableStep(survival=survival, grid=grid, strata=strata, group=group)
        events, risk = _tables(sums)
        check_strata(sums["leaving"].sum(axis=(1, 2)))
        per_stratum = [log_rank_parts(events[place], risk[place]) for place in range(len(events))]
        parts = {name: np.sum([item[name] for item in per_stratum], axis=0) for name in per_stratum[0]}
        patients = sums["leaving"].sum(axis=(0, 2))
    _check_groups(patients, names)
    difference = (parts["observed"] - parts["expected"])[:-1]
    statistic = float(difference @ np.linalg.pinv(parts["variance"][:-1, :-1]) @ difference)
    degrees = len(names) - 1
    return Findings(
        figures={
            "chi-squared": statistic,
            "degrees of freedom": float(degrees),
            "p": chi_squared_p(statistic, degrees),
        },
        tables=(_log_rank_table(names, patients, parts, threshold=threshold),),
        notes=("risk sets within sites",) if grid is None else (),
    )


def _log_rank_table(names: tuple[str, ...], patients: FloatArray, parts: Sums, *, threshold: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for place, name in enumerate(names):
        observed = float(parts["observed"][place])
        hides = bool(is_small(np.array([patients[place], observed]), threshold).any())
        cells: tuple[Cell, ...] = (None, None, None)
        if not hides:
            cells = (round(float(patients[place])), round(observed), float(parts["expected"][place]))
        rows.append((name, *cells))
    columns = ("group", "patients", "observed", "expected")
    return Table(name="groups", title="Log-rank test", columns=columns, rows=tuple(rows))


def _tables(sums: Sums) -> tuple[FloatArray, FloatArray]:
    return sums["events"], at_risk(sums["leaving"], sums.get("entering"))


def _check_groups(patients: FloatArray, names: tuple[str, ...]) -> None:
    empty = [name for name, number in zip(names, patients.tolist(), strict=True) if number < 1]
    if empty:
        raise InvalidInputError(
            f"expected patients in every group, got none in {empty}",
            remedy="select other patients, or merge levels in the contract",
        )


def check_strata(patients: FloatArray) -> None:
    """Check that no stratum is empty.

    Args:
        patients: ``[S]``.

    Raises:
        InvalidInputError: Naming the places of those without a patient.
    """
    empty = np.flatnonzero(patients < 1)
    if len(empty):
        raise InvalidInputError(
            f"expected patients in every stratum, got an empty stratum: {(empty + 1).tolist()} of {len(patients)}",
            remedy="stratify by another variable, or merge levels in the contract",
        )
