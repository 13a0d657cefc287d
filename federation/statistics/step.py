"""One step of an analysis: a question to every site whose answers are added up and never looked at one by one.

A step is a document; a site answers with one vector of fixed length, the aggregator gets the sum. A solver is a generator that
yields steps and receives sums, so the same solver runs over open and over secure sums, and in a test over one table of pooled
records.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from federation.documents import Document
from federation.errors import InternalError, InvalidInputError
from federation.statistics import wide_sums
from federation.statistics.genotype_source import Genotypes
from federation.statistics.wide_sums import Words

FloatArray = NDArray[np.float64]
Shapes = Mapping[str, tuple[int, ...]]
MOST_NUMBERS: Final = 2**23
"""In one vector: 128 MiB as it is sent."""
Sums = Mapping[str, FloatArray]
"""Part of a step's answer to its sum over sites."""


@dataclass(frozen=True)
class Columns:
    """Values of one site, one record per patient unless the terms say otherwise, in the contract's terms.

    Args:
        values: Variable to ``[R]``; none is missing in what a step names, but for descriptive tables.
        records: R.
        patients: Distinct patients; ``None``: as many as records.
        genotypes: Of the same records in the same order, where a site has them.
    """

    values: Mapping[str, FloatArray] = field(repr=False)
    records: int
    patients: int | None = None
    genotypes: Genotypes | None = field(default=None, repr=False)

    def rows(self, start: int, stop: int) -> Columns:
        """Some records, without genotypes."""
        values = {name: column[start:stop] for name, column in self.values.items()}
        return Columns(values=values, records=len(range(self.records)[start:stop]))


class Step(Document):
    """What every site is asked."""

    chosen: ClassVar[frozenset[str]] = frozenset()
    """Fields that follow from earlier sums, such as coefficients; a study fixes all the others in advance."""
    is_whole: ClassVar[bool] = False
    """Whether all numbers are counts, for which one 64-bit number each is enough."""
    is_additive: ClassVar[bool] = True
    """Whether the parts are sums over patients. Those of a site's own fit or test are not, and nothing bounds what one patient does
    to them: they have no version with privacy."""

    def fixed(self) -> dict[str, object]:
        """What a study fixed of this step. Two steps with the same fixed part ask about the same quantities."""
        return self.model_dump(mode="json", exclude=set(self.chosen))

    @abstractmethod
    def shapes(self) -> Shapes:
        """Name and shape of each part of the answer, in the order of the vector."""

    @abstractmethod
    def variables(self) -> frozenset[str]:
        """Variables the step reads."""

    @abstractmethod
    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """The parts, over the records of one site. Adding up the answers of two sites gives that of both together."""

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """``[R, *shape]`` of each part: what each record adds to it. Slow where a step has no way of its own.

        Raises:
            InvalidInputError: If the parts are no sums over patients.
        """
        if not self.is_additive:
            raise InvalidInputError(
                "expected a step that is a sum over patients, got one of sites' own estimates",
                remedy="with privacy use grid=... or strata=VARIABLE instead of strata by site, and glm instead of meta",
            )
        each = [self.summarise(columns.rows(place, place + 1)) for place in range(columns.records)]
        return {
            name: np.array([np.asarray(parts[name], dtype=np.float64) for parts in each]).reshape(-1, *shape)
            for name, shape in self.shapes().items()
        }

    @property
    def length(self) -> int:
        """Numbers in the vector."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def answer(self, columns: Columns) -> FloatArray:
        """``[length]``: the parts as one vector.

        Raises:
            InvalidInputError: If the vector would have more than :data:`MOST_NUMBERS`, or a variable is not there.
            RecordsError: If the records do not allow the step.
        """
        unknown = sorted(self.variables() - columns.values.keys())
        if unknown or self.length > MOST_NUMBERS:
            raise InvalidInputError(
                f"expected known variables and at most {MOST_NUMBERS} numbers in a step, got {self.length} and unknown {unknown}",
                remedy="use a coarser grid or fewer terms, and variables of the contract",
            )
        parts = self.summarise(columns)
        shapes = self.shapes()
        if {name: np.shape(parts[name]) for name in parts} != dict(shapes):
            raise InternalError(
                f"expected parts {dict(shapes)}, got { ({name: np.shape(parts[name]) for name in parts}) }"
            )
        return np.concatenate([np.ravel(parts[name]) for name in shapes]).astype(np.float64)

    @property
    def num_words(self) -> int:
        """64-bit numbers in which an answer is sent."""
        return self.length if self.is_whole else 2 * self.length

    def words(self, columns: Columns) -> Words:
        """``[num_words]``: the answer as it is added up.

        Raises:
            As :meth:`answer`, and if a number does not fit.
        """
        values = self.answer(columns)
        return wide_sums.encode_whole(values) if self.is_whole else wide_sums.encode(values)

    def opened(self, total: Words) -> FloatArray:
        """``[length]`` from the words of all sites added up."""
        return total.astype(np.float64) if self.is_whole else wide_sums.decode(total)

    def parts(self, total: FloatArray) -> Sums:
        """A summed vector under the names of its parts."""
        found: dict[str, FloatArray] = {}
        start = 0
        for name, shape in self.shapes().items():
            size = math.prod(shape)
            found[name] = total[start : start + size].reshape(shape)
            start += size
        if start != len(total):
            raise InternalError(f"expected a vector of {start} numbers, got {len(total)}")
        return found


ResultT = TypeVar("ResultT")
Solver = Generator[Step, Sums, ResultT]
"""Yields steps, receives their sums, returns a result."""
