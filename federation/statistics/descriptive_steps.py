"""What sites sum for descriptive tables: moments, histograms on agreed edges, counts of levels and of pairs of levels.

Missing values are left out variable by variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.errors import InvalidInputError
from federation.identifiers import VariableName
from federation.statistics.step import Columns, Shapes, Step

FloatArray = NDArray[np.float64]


class Scaled(Document):
    """A number, moved to about [-1, 1] by its plausible range or to its mean."""

    variable: VariableName
    centre: float
    scale: Annotated[float, Field(gt=0)]

    def known(self, columns: Columns) -> FloatArray:
        """``[known]`` values that are not missing, scaled."""
        values = columns.values[self.variable]
        return (values[~np.isnan(values)] - self.centre) / self.scale


class MomentStep(Step):
    """Sums of the first three powers of scaled numbers."""

    kind: Literal["moments"] = "moments"
    numbers: Annotated[tuple[Scaled, ...], Field(min_length=1)]

    def fixed(self) -> dict[str, object]:
        """Without the centres: sums about another centre follow from those about the first."""
        return self.model_dump(mode="json", exclude={"numbers": {"__all__": {"centre"}}})

    def shapes(self) -> Shapes:
        """``known`` and ``powers`` (first, second, third) of each number."""
        return {"known": (len(self.numbers),), "powers": (len(self.numbers), 3)}

    def variables(self) -> frozenset[str]:
        """Of the numbers."""
        return frozenset(number.variable for number in self.numbers)

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        known = [number.known(columns) for number in self.numbers]
        return {
            "known": np.array([float(len(values)) for values in known]),
            "powers": np.array([[float(np.sum(values**power)) for power in (1, 2, 3)] for values in known]),
        }

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """Zeros where a number is missing."""
        values = np.stack([(columns.values[of.variable] - of.centre) / of.scale for of in self.numbers], axis=1)
        known = ~np.isnan(values)
        values = np.where(known, values, 0.0)
        return {"known": known.astype(np.float64), "powers": np.stack([values, values**2, values**3], axis=2)}


class Grid(Document):
    """Agreed bins of one number: ``bins`` of one width from ``start`` on; values beyond are counted in the outermost."""

    variable: VariableName
    start: float
    width: Annotated[float, Field(gt=0)]
    bins: Annotated[int, Field(ge=1, le=100_000)]

    def places(self, values: FloatArray) -> NDArray[np.int64]:
        """The bin of each value that is not missing."""
        places = np.floor((values - self.start) / self.width)
        return np.clip(places, 0, self.bins - 1).astype(np.int64)


class HistogramStep(Step):
    """Counts of one number in agreed bins."""

    kind: Literal["histogram"] = "histogram"
    grid: Grid

    def shapes(self) -> Shapes:
        """``counts`` of the bins."""
        return {"counts": (self.grid.bins,)}

    def variables(self) -> frozenset[str]:
        """The number."""
        return frozenset({self.grid.variable})

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        values = columns.values[self.grid.variable]
        places = self.grid.places(values[~np.isnan(values)])
        return {"counts": np.bincount(places, minlength=self.grid.bins).astype(np.float64)}

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """One in the own bin; nothing if the number is missing."""
        values = columns.values[self.grid.variable]
        known = np.flatnonzero(~np.isnan(values))
        counts = np.zeros((columns.records, self.grid.bins))
        counts[known, self.grid.places(values[known])] = 1.0
        return {"counts": counts}


class Levels(Document):
    """A variable with levels and how many the contract has."""

    variable: VariableName
    levels: Annotated[int, Field(ge=2, le=10_000)]


def check_codes(coded: Levels, codes: NDArray[np.int64]) -> None:
    """Check that a step knows as many levels as the records have.

    Raises:
        InvalidInputError: If not.
    """
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < coded.levels:
        raise InvalidInputError(
            f"expected {coded.levels} levels of {coded.variable}, the records have others or unknown ones",
            remedy="use the contract's levels, and name the variable in complete=[...]",
        )


class LevelCountStep(Step):
    """Counts of every combination of levels of one to three variables, among the records in which all are known."""

    kind: Literal["level_counts"] = "level_counts"
    coded: Annotated[tuple[Levels, ...], Field(min_length=1, max_length=3)]

    def shapes(self) -> Shapes:
        """``counts``, an axis per variable."""
        return {"counts": tuple(item.levels for item in self.coded)}

    def variables(self) -> frozenset[str]:
        """The coded variables."""
        return frozenset(item.variable for item in self.coded)

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        values = np.stack([columns.values[item.variable] for item in self.coded])
        known = values[:, ~np.isnan(values).any(axis=0)].astype(np.int64)
        for item, codes in zip(self.coded, known, strict=True):
            check_codes(item, codes)
        counts = np.zeros(tuple(item.levels for item in self.coded))
        np.add.at(counts, tuple(known), 1.0)
        return {"counts": counts}

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """One in the own cell; nothing if a level is missing."""
        values = np.stack([columns.values[item.variable] for item in self.coded])
        known = np.flatnonzero(~np.isnan(values).any(axis=0))
        codes = values[:, known].astype(np.int64)
        for item, own in zip(self.coded, codes, strict=True):
            check_codes(item, own)
        counts = np.zeros((columns.records, *(item.levels for item in self.coded)))
        counts[(known, *codes)] = 1.0
        return {"counts": counts}
