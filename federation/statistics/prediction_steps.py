"""What sites sum about predicted risks: histograms by what happened, squared errors, and the equations of recalibration.

Every score is judged on the same patients: those for whom all scores and the outcome are known; the others are counted.

Axis names: S scores, G groups, B bins of equal width on [0, 1].
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
from federation.statistics.step import Columns, Shapes, Step

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

CLIP: Final = 1e-6
"""Risks are kept this far from 0 and 1 before their log odds."""


class Scores(Document):
    """Which predictions are judged, by what, and in which groups of sites or patients."""

    scores: Annotated[tuple[VariableName, ...], Field(min_length=1, max_length=8)]
    outcome: VariableName
    group: VariableName | None = None
    """A categorical variable; ``None``: everybody is in one group."""
    groups: Annotated[int, Field(ge=1, le=1000)] = 1
    """Levels of ``group``."""

    @property
    def names(self) -> frozenset[str]:
        """Variables read."""
        return frozenset({*self.scores, self.outcome} | ({self.group} if self.group else set()))

    def known(self, columns: Columns) -> Mask:
        """``[R]``: where the outcome and every score are known."""
        read = np.stack([columns.values[name] for name in (*self.scores, self.outcome)])
        return np.asarray(np.isfinite(read).all(axis=0), dtype=np.bool_)

    def codes(self, columns: Columns) -> NDArray[np.int64]:
        """``[R]``: the group of each record."""
        if self.group is None:
            return np.zeros(columns.records, dtype=np.int64)
        return columns.values[self.group].astype(np.int64)

    def risks(self, columns: Columns, known: Mask) -> FloatArray:
        """``[S, known]``.

        Raises:
            ImplausibleValueError: If one is no probability.
        """
        risks = np.stack([columns.values[name][known] for name in self.scores])
        outside = int(np.count_nonzero((risks < 0) | (risks > 1)))
        if outside:
            raise ImplausibleValueError(
                f"expected risks from 0 to 1, got {outside} others",
                remedy="map what means missing, such as -1, to missing",
            )
        return risks


class RiskHistogramStep(Step):
    """Histograms of risks by outcome, the risks added up in every bin, and squared errors."""

    kind: Literal["risk_histogram"] = "risk_histogram"
    scores: Scores
    bins: Annotated[int, Field(ge=2, le=10_000)] = 1000

    def shapes(self) -> Shapes:
        """``negative``, ``positive`` and ``predicted`` ``[S, G, B]``, ``squared_error`` ``[S, G]``, ``left_out`` ``[G]``."""
        size = (len(self.scores.scores), self.scores.groups)
        wide = (*size, self.bins)
        return {
            "negative": wide,
            "positive": wide,
            "predicted": wide,
            "squared_error": size,
            "left_out": (self.scores.groups,),
        }

    def variables(self) -> frozenset[str]:
        """Scores, outcome and group."""
        return self.scores.names

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        known, codes, groups = self.scores.known(columns), self.scores.codes(columns), self.scores.groups
        risks, outcome = self.scores.risks(columns, known), columns.values[self.scores.outcome][known] > 0.5  # noqa: PLR2004 - between the two codes
        bins = np.clip((risks * self.bins).astype(np.int64), 0, self.bins - 1) + codes[known] * self.bins

        def counted(chosen: Mask | slice, weights: FloatArray | None = None) -> FloatArray:
            rows = [
                np.bincount(
                    row[chosen], None if weights is None else weights[place], minlength=groups * self.bins
                ).astype(np.float64)
                for place, row in enumerate(bins)
            ]
            return np.stack(rows).reshape(-1, groups, self.bins)

        errors = [np.bincount(codes[known], np.square(row - outcome), minlength=groups) for row in risks]
        return {
            "negative": counted(~outcome),
            "positive": counted(outcome),
            "predicted": counted(slice(None), risks),
            "squared_error": np.stack(errors).astype(np.float64),
            "left_out": np.bincount(codes[~known], minlength=groups).astype(np.float64),
        }


class RecalibrationStep(Step):
    """Scores and information of two logistic regressions of the outcome on the log odds of a risk.

    The first has an intercept and a slope; the second an intercept beside the log odds as an offset (Cox 1958, Biometrika 45:562).
    """

    kind: Literal["recalibration"] = "recalibration"
    chosen: ClassVar[frozenset[str]] = frozenset({"line", "shift"})
    scores: Scores
    line: tuple[tuple[tuple[float, float], ...], ...]
    """``[S, G, 2]`` intercept and slope of the first, where the sums are taken."""
    shift: tuple[tuple[float, ...], ...]
    """``[S, G]`` intercept of the second."""

    def shapes(self) -> Shapes:
        """``line_score`` ``[S, G, 2]``, ``line_information`` ``[S, G, 2, 2]``; of the shift ``[S, G]`` each."""
        size = (len(self.scores.scores), self.scores.groups)
        return {
            "line_score": (*size, 2),
            "line_information": (*size, 2, 2),
            "shift_score": size,
            "shift_information": size,
        }

    def variables(self) -> frozenset[str]:
        """Scores, outcome and group."""
        return self.scores.names

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        known = self.scores.known(columns)
        codes, groups = self.scores.codes(columns)[known], self.scores.groups
        outcome = columns.values[self.scores.outcome][known]
        found = {name: np.zeros(shape) for name, shape in self.shapes().items()}
        for place, risks in enumerate(self.scores.risks(columns, known)):
            odds = log_odds(risks)
            design = np.stack([np.ones_like(odds), odds], axis=1)
            line, shift = np.array(self.line[place])[codes], np.array(self.shift[place])[codes]
            fitted = _logistic(np.sum(design * line, axis=1))
            moved = _logistic(odds + shift)
            spread = (fitted * (1 - fitted))[:, None, None] * design[:, :, None] * design[:, None, :]
            for group in range(groups):
                own = codes == group
                found["line_score"][place, group] = (design * (outcome - fitted)[:, None])[own].sum(axis=0)
                found["line_information"][place, group] = spread[own].sum(axis=0)
                found["shift_score"][place, group] = (outcome - moved)[own].sum()
                found["shift_information"][place, group] = (moved * (1 - moved))[own].sum()
        return found


def log_odds(risks: FloatArray) -> FloatArray:
    """Log odds of risks, which are kept :data:`CLIP` away from 0 and 1."""
    safe = np.clip(risks, CLIP, 1 - CLIP)
    return np.log(safe) - np.log1p(-safe)


def _logistic(values: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-np.clip(values, -700, 700)))
