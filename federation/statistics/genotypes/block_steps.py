"""Steps over blocks of variants: what the sites' alignments met, and counts of genotypes.

Axis names: R records, V variants, S sites, G groups of the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.errors import InternalError, InvalidInputError, RecordsError
from federation.identifiers import SiteId, VariableName
from federation.statistics.genotype_source import MISSING, CopyArray, Genotypes, IndexArray, Packed, in_blocks
from federation.statistics.genotypes.alignment import FATES
from federation.statistics.genotypes.hardy_weinberg import hardy_weinberg_p
from federation.statistics.step import Columns, Shapes, Step

FloatArray = NDArray[np.float64]
_STATES: Final = 4
"""0, 1, 2 copies, missing."""


class GenotypeStep(Step):
    """A step that reads genotypes."""

    variants: str
    """Digest of the public list."""

    def genotypes(self, columns: Columns) -> Genotypes:
        """The site's.

        Raises:
            InvalidInputError: If the site has none, or is aligned to another list.
        """
        found = columns.genotypes
        if found is None or found.variants != self.variants:
            raise InvalidInputError(
                "expected genotypes aligned to the study's list of variants, got none or others",
                remedy="give every site the same list, and its genotypes",
            )
        return found


class BlockStep(GenotypeStep):
    """A step about some of the variants, each by itself."""

    places: Packed
    """``[V]`` in the public list."""

    @property
    def size(self) -> int:
        """Variants, V."""
        return self.places.shape[0]

    def blocks(self, columns: Columns) -> Iterator[tuple[slice, CopyArray]]:
        """Parts of the variants with their copies ``[R, v]``, as many as are read at once.

        Raises:
            InvalidInputError: If a place is not in the list.
        """
        genotypes = self.genotypes(columns)
        places: IndexArray = self.places.places
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < genotypes.num_variants:
            raise InvalidInputError(
                f"expected places in a list of {genotypes.num_variants} variants, got others",
                remedy="use the agreed list",
            )
        for part in in_blocks(places):
            yield part, genotypes.read(places[part])


class AlignmentStep(GenotypeStep):
    """How many variants of each site met which fate. Numbers of variants, not of patients: each site has a row of its own."""

    kind: Literal["genotype_alignment"] = "genotype_alignment"
    is_whole: ClassVar[bool] = True
    sites: tuple[SiteId, ...]

    def shapes(self) -> Shapes:
        """``fates`` ``[S, len(FATES)]``."""
        return {"fates": (len(self.sites), len(FATES))}

    def variables(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        genotypes = self.genotypes(columns)
        if genotypes.site not in self.sites:
            raise InternalError("expected a site of the study, got another")
        fates = np.zeros((len(self.sites), len(FATES)))
        fates[self.sites.index(genotypes.site)] = genotypes.fates
        return {"fates": fates}


class GenotypeCountStep(BlockStep):
    """Counts of genotypes, by a binary outcome if there is one, and of sites that are out of equilibrium."""

    kind: Literal["genotype_counts"] = "genotype_counts"
    is_whole: ClassVar[bool] = True
    outcome: VariableName | None = None
    least_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A site is out of Hardy-Weinberg equilibrium if its own p-value is below."""

    def shapes(self) -> Shapes:
        """``counts`` ``[V, G, 4]``: people with 0, 1, 2 copies and without a genotype; ``outside`` ``[V]``: sites."""
        return {"counts": (self.size, 1 if self.outcome is None else 2, _STATES), "outside": (self.size,)}

    def variables(self) -> frozenset[str]:
        """The outcome."""
        return frozenset() if self.outcome is None else frozenset({self.outcome})

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        groups = groups_of(columns, self.outcome)
        counts = np.empty((self.size, len(groups), _STATES))
        for part, copies in self.blocks(columns):
            for group, members in enumerate(groups):
                counts[part, group] = count_states(copies[members])
        outside = np.zeros(self.size)
        if self.least_p > 0:
            outside = (hardy_weinberg_p(counts.sum(axis=1)[:, :3]) < self.least_p).astype(np.float64)
        return {"counts": counts, "outside": outside}


def groups_of(columns: Columns, outcome: str | None) -> list[NDArray[np.bool_]]:
    """Who has the outcome 0 and 1; all, if there is no outcome.

    Raises:
        RecordsError: If the outcome has other values.
    """
    if outcome is None:
        return [np.ones(columns.records, dtype=np.bool_)]
    values = columns.values[outcome]
    if not np.isin(values, (0.0, 1.0)).all():
        raise RecordsError("expected 0 or 1, got others", variable=outcome, remedy="use method=linear for a number")
    return [values == 0.0, values == 1.0]


def count_states(copies: CopyArray) -> FloatArray:
    """``[V, 4]`` people with 0, 1, 2 copies and without a genotype, from ``[R, V]``."""
    states = [np.count_nonzero(copies == state, axis=0) for state in (0, 1, 2, MISSING)]
    return np.stack(states, axis=1).astype(np.float64)
