"""What sites sum for a Cox model as a Poisson model of hazards on a grid: score and information of coefficients and log hazards.

With one log hazard a for each event time and stratum, a patient at risk there has an event with intensity ``exp(a + x b)``. At
the maximum over the hazards its likelihood is the partial likelihood with Breslow's ties (Holford 1976; Laird & Olivier 1981),
and unlike that one it is a sum over patients.

Axis names: R records, M event times of all strata, p columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.statistics.descriptive_steps import Levels
from federation.statistics.design import Design, linear_predictor
from federation.statistics.step import Columns, Shapes, Step
from federation.statistics.survival_steps import Survival, TimeGrid, codes_of

FloatArray = NDArray[np.float64]

_LARGEST_PREDICTOR: Final = 20.0


class HazardStep(Step):
    """Score and information at given coefficients and log hazards."""

    chosen: ClassVar[frozenset[str]] = frozenset({"coefficients", "hazards", "points"})
    kind: Literal["hazard"] = "hazard"
    survival: Survival
    grid: TimeGrid
    strata: Levels | None = None
    design: Design
    coefficients: tuple[float, ...]
    hazards: tuple[float, ...]
    """Logarithms, at a row of zeros."""
    points: Annotated[tuple[tuple[int, int], ...], Field(min_length=1)]
    """Stratum and point of the grid of every event time that counts."""

    def shapes(self) -> Shapes:
        """``score`` ``[p]``, ``information`` ``[p, p]``; ``hazard_score``, ``expected`` ``[M]``; ``mixed`` ``[M, p]``."""
        width, times = len(self.design.columns), len(self.points)
        return {
            "score": (width,),
            "information": (width, width),
            "hazard_score": (times,),
            "expected": (times,),
            "mixed": (times, width),
        }

    def variables(self) -> frozenset[str]:
        """Of survival, strata and design."""
        strata = set() if self.strata is None else {self.strata.variable}
        return self.survival.variables() | self.design.variables() | strata

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        return {name: part.sum(axis=0) for name, part in self.per_patient(columns).items()}

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        time, event, entry = self.survival.read(columns)
        design = self.design.matrix(columns.values, records=columns.records)
        strata = codes_of(self.strata, columns)
        points = np.array(self.points, dtype=np.int64)
        ends = self.grid.ends(time)[:, None]
        is_here = strata[:, None] == points[:, 0]
        is_at_risk = is_here & (points[:, 1] <= ends)
        if entry is not None:
            is_at_risk &= points[:, 1] > self.grid.starts(entry)[:, None]
        predictor = linear_predictor(design, self.coefficients)[:, None] + np.array(self.hazards)
        expected = np.where(is_at_risk, np.exp(np.clip(predictor, -_LARGEST_PREDICTOR, _LARGEST_PREDICTOR)), 0.0)
        happened = (is_at_risk & (points[:, 1] == ends)) * event[:, None]
        rest = happened - expected
        outer = design[:, :, None] * design[:, None, :]
        return {
            "score": design * rest.sum(axis=1)[:, None],
            "information": outer * expected.sum(axis=1)[:, None, None],
            "hazard_score": rest,
            "expected": expected,
            "mixed": expected[:, :, None] * design[:, None, :],
        }
