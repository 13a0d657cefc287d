"""What sites sum for a Cox model: over everybody at risk and over those with tied events, at each event time.

With risk sets over all sites the sums of a site at one event time are those of ``w``, ``w x`` and ``w x x'`` over its patients at
risk, ``w = exp(x b)`` (WebDISCO, Lu et al. 2015). Stratified by site, a site evaluates its own partial likelihood, and only that
is summed.

Axis names: R records, M event times of all strata, p columns, T = p (p + 1) / 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.statistics.descriptive_steps import Levels
from federation.statistics.design import Design
from federation.statistics.step import Columns, Shapes, Step
from federation.statistics.survival_steps import Survival, TimeGrid, codes_of

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
Ties = Literal["efron", "breslow"]

_LARGEST_PREDICTOR: Final = 20.0
"""Cut while a fit has not converged, so that sums stay of a size that can be added exactly."""


class GramStep(Step):
    """Cross products of the columns: of an indicator, the diagonal counts patients."""

    kind: Literal["gram"] = "gram"
    design: Design

    def shapes(self) -> Shapes:
        """``gram`` ``[p, p]``."""
        width = len(self.design.columns)
        return {"gram": (width, width)}

    def variables(self) -> frozenset[str]:
        """Of the design."""
        return self.design.variables()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        design = self.design.matrix(columns.values, records=columns.records)
        return {"gram": design.T @ design}


class CoxRiskStep(Step):
    """Sums over risk sets of all sites at agreed event times."""

    chosen: ClassVar[frozenset[str]] = frozenset({"coefficients", "points"})
    kind: Literal["cox_risk"] = "cox_risk"
    survival: Survival
    grid: TimeGrid
    strata: Levels | None = None
    design: Design
    coefficients: tuple[float, ...]
    points: Annotated[tuple[tuple[int, int], ...], Field(min_length=1)]
    """Stratum and point of the grid of every event time."""

    def shapes(self) -> Shapes:
        """``risk`` and ``tied`` ``[M, 1 + p + T]``, ``events`` ``[p]``: the sum of x over events."""
        width = len(self.design.columns)
        moments = 1 + width + width * (width + 1) // 2
        return {"risk": (len(self.points), moments), "tied": (len(self.points), moments), "events": (width,)}

    def variables(self) -> frozenset[str]:
        """Of survival, strata and design."""
        strata = set() if self.strata is None else {self.strata.variable}
        return self.survival.variables() | self.design.variables() | strata

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        time, event, entry = self.survival.read(columns)
        design = self.design.matrix(columns.values, records=columns.records)
        return risk_sums(
            design,
            np.array(self.coefficients),
            ends=self.grid.ends(time),
            starts=None if entry is None else self.grid.starts(entry),
            event=event,
            strata=codes_of(self.strata, columns),
            points=np.array(self.points, dtype=np.int64),
        )


class CoxLikelihoodStep(Step):
    """The partial likelihood within each site, at the exact times."""

    is_additive: ClassVar[bool] = False
    chosen: ClassVar[frozenset[str]] = frozenset({"coefficients"})
    kind: Literal["cox_likelihood"] = "cox_likelihood"
    survival: Survival
    strata: Levels | None = None
    design: Design
    coefficients: tuple[float, ...]
    ties: Ties

    def shapes(self) -> Shapes:
        """``log_likelihood``, ``score`` ``[p]``, ``information`` ``[p, p]``, ``happened``: the number of events."""
        width = len(self.design.columns)
        return {"log_likelihood": (), "score": (width,), "information": (width, width), "happened": ()}

    def variables(self) -> frozenset[str]:
        """Of survival, strata and design."""
        strata = set() if self.strata is None else {self.strata.variable}
        return self.survival.variables() | self.design.variables() | strata

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        time, event, entry = self.survival.read(columns)
        width = len(self.design.columns)
        if not event.any():
            return {
                "log_likelihood": np.zeros(()),
                "score": np.zeros(width),
                "information": np.zeros((width, width)),
                "happened": np.zeros(()),
            }
        distinct = np.unique(time)
        strata = codes_of(self.strata, columns)
        ends = np.searchsorted(distinct, time)
        happened = event == 1
        points, counts = np.unique(np.stack([strata[happened], ends[happened]], axis=1), axis=0, return_counts=True)
        coefficients = np.array(self.coefficients)
        sums = risk_sums(
            self.design.matrix(columns.values, records=columns.records),
            coefficients,
            ends=ends,
            starts=None if entry is None else np.searchsorted(distinct, entry, side="right") - 1,
            event=event,
            strata=strata,
            points=points,
        )
        found = partial_likelihood(sums, counts.astype(np.float64), coefficients, ties=self.ties)
        return {**found, "happened": np.array(float(event.sum()))}


def risk_sums(
    design: FloatArray,
    coefficients: FloatArray,
    *,
    ends: IndexArray,
    starts: IndexArray | None,
    event: FloatArray,
    strata: IndexArray,
    points: IndexArray,
) -> dict[str, FloatArray]:
    """Sums of ``w (1, x, x x')`` at every event time; a patient is at risk from the point after the start to the end.

    Args:
        design: ``[R, p]``.
        coefficients: ``[p]``.
        ends: ``[R]`` places on a common time axis.
        starts: ``[R]``, -1 for before all; ``None``: everybody from the beginning.
        event: ``[R]`` 0 or 1.
        strata: ``[R]``.
        points: ``[M, 2]`` stratum and place.
    """
    weights = np.exp(np.clip(design @ coefficients, -_LARGEST_PREDICTOR, _LARGEST_PREDICTOR))
    first, second = np.triu_indices(design.shape[1])
    moments = np.column_stack([np.ones(len(design)), design, design[:, first] * design[:, second]]) * weights[:, None]
    risk, tied = np.zeros((len(points), moments.shape[1])), np.zeros((len(points), moments.shape[1]))
    for stratum in np.unique(points[:, 0]).tolist():
        here = np.flatnonzero(points[:, 0] == stratum)
        places = points[here, 1]
        chosen = strata == stratum
        risk[here] = _from_place_on(moments[chosen], ends[chosen], places)
        if starts is not None:
            risk[here] -= _from_place_on(moments[chosen], starts[chosen], places)
        happened = chosen & (event == 1)
        tied[here] = _from_place_on(moments[happened], ends[happened], places) - _from_place_on(
            moments[happened], ends[happened], places + 1
        )
    return {"risk": risk, "tied": tied, "events": design[event == 1].sum(axis=0)}


def _from_place_on(moments: FloatArray, of: IndexArray, places: IndexArray) -> FloatArray:
    """``[M, q]`` sums over the records at or after each place."""
    order = np.argsort(of, kind="stable")
    after = np.vstack([np.flip(np.cumsum(np.flip(moments[order], axis=0), axis=0), axis=0), np.zeros(moments.shape[1])])
    return after[np.searchsorted(of[order], places, side="left")]


def partial_likelihood(
    sums: Mapping[str, FloatArray], counts: FloatArray, coefficients: FloatArray, *, ties: Ties
) -> dict[str, FloatArray]:
    """Log partial likelihood, score and information. Breslow 1974; Efron 1977; Kalbfleisch & Prentice 2002, section 4.2.

    Args:
        sums: From :func:`risk_sums`, over one site or all.
        counts: ``[M]`` events at each event time.
        coefficients: ``[p]``.
        ties: How tied events are treated.
    """
    width = len(coefficients)
    score = np.array(sums["events"], dtype=np.float64)
    likelihood = float(score @ coefficients)
    information = np.zeros((width, width))
    upper = np.triu_indices(width)
    for place, count in enumerate(np.rint(counts).astype(np.int64).tolist()):
        parts = np.arange(count) / count if ties == "efron" else np.zeros(count)
        moments = sums["risk"][place] - parts[:, None] * sums["tied"][place]
        mean = moments[:, 1 : 1 + width] / moments[:, [0]]
        square = np.zeros((width, width))
        square[upper] = (moments[:, 1 + width :] / moments[:, [0]]).sum(axis=0)
        square = square + square.T - np.diag(np.diag(square))
        likelihood -= float(np.log(moments[:, 0]).sum())
        score = score - mean.sum(axis=0)
        information += square - mean.T @ mean
    return {"log_likelihood": np.array(likelihood), "score": score, "information": information}
