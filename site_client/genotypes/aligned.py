"""A site's genotypes in the terms of the study: aligned to its list of variants, in the order of the records of a selection.

Axis names: R records of a selection, V variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError, PatientKeyError
from federation.statistics.genotype_source import MISSING, CopyArray, FloatArray, IndexArray, Projection, project
from federation.statistics.genotypes.alignment import ABSENT, Alignment, PalindromicRule, align, aligned_digest
from federation.statistics.genotypes.variants import VariantList
from site_client.genotypes.plink import PlinkFiles

_NOBODY: Final = -1
_MOST_REMEMBERED: Final = 2


@dataclass(frozen=True)
class SiteGenotypes:
    """A site's files and where the study's variants are in them.

    Args:
        files: Of the site.
        variants: Digest of the study's list.
        alignment: Of the files to it.
    """

    files: PlinkFiles
    variants: str
    alignment: Alignment = field(repr=False)

    @classmethod
    def aligned(
        cls,
        files: PlinkFiles,
        listed: VariantList,
        *,
        patients: Sequence[str],
        palindromic: PalindromicRule = "exclude",
    ) -> SiteGenotypes:
        """Align a site's files.

        Args:
            files: Of the site.
            listed: The study's list.
            patients: Keys of all of the site's records.
            palindromic: See :func:`~federation.statistics.genotypes.alignment.align`. Part of what the study agrees on.

        Raises:
            PatientKeyError: If somebody in the files has no record.
        """
        strangers = len(set(files.people.tolist()) - set(patients))
        if strangers:
            raise PatientKeyError(
                f"expected a record of every person in the .fam file, got {strangers} without",
                site=files.site,
                remedy="take them out of the genotype files (plink --keep), or add their records",
            )
        alignment = align(listed, files.variants, palindromic=palindromic)
        return cls(files=files, variants=listed_digest(listed, palindromic), alignment=alignment)

    def of(self, patient_keys: NDArray[np.str_]) -> SelectedGenotypes:
        """The genotypes of these patients, in their order. Who is not in the files has none: missing at every variant."""
        places = {key: row for row, key in enumerate(self.files.people.tolist())}
        rows = [places.get(key, _NOBODY) for key in patient_keys.tolist()]
        return SelectedGenotypes(source=self, rows=np.array(rows, dtype=np.int64))


def listed_digest(listed: VariantList, palindromic: PalindromicRule) -> str:
    """What binds a step to a list and to the rule of its alignment."""
    return aligned_digest(listed.digest, palindromic)


@dataclass
class SelectedGenotypes:
    """See :class:`~federation.statistics.genotype_source.Genotypes`.

    Args:
        source: Of the whole site.
        rows: ``[R]`` in the files; -1: not genotyped.
    """

    source: SiteGenotypes
    rows: IndexArray = field(repr=False)
    _known: dict[str, FloatArray] = field(default_factory=dict[str, FloatArray], init=False, repr=False)

    @property
    def site(self) -> str:
        """Its name."""
        return self.source.files.site

    @property
    def variants(self) -> str:
        """Digest of the study's list."""
        return self.source.variants

    @property
    def num_variants(self) -> int:
        """In the list."""
        return len(self.source.alignment.columns)

    @property
    def fates(self) -> IndexArray:
        """Of the list's variants."""
        return self.source.alignment.fates

    def read(self, places: IndexArray) -> CopyArray:
        """``[R, V]`` copies of the list's first allele; -1 is missing.

        Raises:
            InvalidInputError: If a place is not in the list.
            RecordsUnreadableError: If the files changed.
        """
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < self.num_variants:
            raise InvalidInputError("expected places in the study's list of variants, got others")
        alignment = self.source.alignment
        columns = alignment.columns[places]
        there = np.flatnonzero(columns != ABSENT)
        if len(there) == 0 or len(self.rows) == 0:
            return np.full((len(self.rows), len(places)), MISSING, dtype=np.int8)
        block = self.source.files.read(columns[there])
        swapped = np.flatnonzero(alignment.is_swapped[places][there])
        if len(swapped):
            copies = block[:, swapped]
            block[:, swapped] = np.where(copies == MISSING, MISSING, 2 - copies)
        if not np.array_equal(self.rows, np.arange(len(block))):
            block = block[self.rows]
            block[self.rows == _NOBODY] = MISSING
        if len(there) == len(places):
            return block
        found = np.full((len(self.rows), len(places)), MISSING, dtype=np.int8)
        found[:, there] = block
        return found

    def projected(self, projection: Projection) -> FloatArray:
        """``[R, k]``, remembered for the latest two projections."""
        digest = projection.digest
        if digest not in self._known:
            while len(self._known) >= _MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
            width = projection.width
            self._known[digest] = project(self, projection) if len(self.rows) else np.zeros((0, width))
        return self._known[digest]
