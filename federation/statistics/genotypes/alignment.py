"""A site's variants brought to the alleles of the public list: swaps and strand flips mended, what cannot be mended left out.

A variant of the list is looked for by its name, and where the site has no such name, by chromosome and position if one variant of
the site is there. Alleles in the other order are swapped: the site's copies c become 2 - c. Alleles that are the complements of
the list's were read on the other strand: flipped. With palindromic alleles (A/T, C/G) a flip looks like a swap, so they are left
out, unless the study declares that every site reports the same strand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from federation.statistics.genotypes.variants import COMPLEMENT, NO_ALLELE, VariantList

IndexArray = NDArray[np.int64]
PalindromicRule = Literal["exclude", "keep"]

FATES: Final = (
    "same",
    "swapped",
    "flipped",
    "flipped and swapped",
    "palindromic",
    "other alleles",
    "other position",
    "absent",
    "not in the list",
)
"""Of the list's variants at a site; the last of the site's variants that the list lacks."""
_SAME, _SWAPPED, _FLIPPED, _BOTH, _PALINDROMIC, _OTHER_ALLELES, _OTHER_POSITION, _ABSENT, _NOT_LISTED = range(
    len(FATES)
)
ABSENT: Final = -1


@dataclass(frozen=True)
class Alignment:
    """Where the list's variants are at a site.

    Args:
        columns: ``[V]`` column of the site's file; :data:`ABSENT`: the site has nothing that could be used.
        is_swapped: ``[V]`` whether the site counts copies of the other allele.
        fates: ``[len(FATES)]`` how many variants met which fate.
    """

    columns: IndexArray = field(repr=False)
    is_swapped: NDArray[np.bool_] = field(repr=False)
    fates: IndexArray


def align(listed: VariantList, own: VariantList, *, palindromic: PalindromicRule = "exclude") -> Alignment:
    """Find the list's variants among a site's.

    Args:
        listed: The public list.
        own: The site's file.
        palindromic: Whether variants with alleles A/T or C/G are left out, or taken as they are written.
    """
    found = _Finder.of(own)
    columns = np.full(len(listed), ABSENT, dtype=np.int64)
    is_swapped = np.zeros(len(listed), dtype=np.bool_)
    fates = np.zeros(len(FATES), dtype=np.int64)
    used: set[int] = set()
    rows = zip(
        listed.chromosomes.tolist(),
        listed.names.tolist(),
        listed.positions.tolist(),
        zip(listed.first.tolist(), listed.second.tolist(), strict=True),
        strict=True,
    )
    for place, (chromosome, name, position, alleles) in enumerate(rows):
        column = found.column(name, (chromosome, position))
        fate = _ABSENT
        if column is not None:
            used.add(column)
            fate = _OTHER_POSITION
            if found.sites[column] == (chromosome, position):
                fate = fate_of(alleles, found.alleles[column], palindromic=palindromic)
        fates[fate] += 1
        if column is not None and fate <= _BOTH:
            columns[place] = column
            is_swapped[place] = fate in {_SWAPPED, _BOTH}
    fates[_NOT_LISTED] = len(own) - len(used)
    return Alignment(columns=columns, is_swapped=is_swapped, fates=fates)


def aligned_digest(listed: str, palindromic: PalindromicRule) -> str:
    """What binds a step to a list and to the rule of its alignment.

    Args:
        listed: Digest of the list.
        palindromic: See :func:`align`.
    """
    return f"{listed}:{palindromic}"


def fate_of(listed: tuple[str, str], own: tuple[str, str], *, palindromic: PalindromicRule) -> int:
    """Place in :data:`FATES` of a variant whose name and position agree.

    Args:
        listed: Alleles of the list.
        own: Of the site; PLINK's ``0`` where nobody there has the allele.
        palindromic: As in :func:`align`.

    >>> FATES[fate_of(("A", "C"), ("G", "T"), palindromic="exclude")]
    'flipped and swapped'
    """
    is_palindromic = COMPLEMENT.get(listed[0]) == listed[1]
    if is_palindromic and palindromic == "exclude":
        return _PALINDROMIC
    if NO_ALLELE in own and own != (NO_ALLELE, NO_ALLELE):
        own = _completed(listed, own)
    if own == listed:
        return _SAME
    if own == listed[::-1]:
        return _SWAPPED
    turned = (COMPLEMENT.get(own[0], ""), COMPLEMENT.get(own[1], ""))
    if turned == listed:
        return _FLIPPED
    if turned == listed[::-1]:
        return _BOTH
    return _OTHER_ALLELES


def _completed(listed: tuple[str, str], own: tuple[str, str]) -> tuple[str, str]:
    """A site's alleles with the one put in that nobody there has, on the strand that the other one tells."""
    place = own.index(NO_ALLELE)
    known = own[1 - place]
    for alleles in (listed, (COMPLEMENT.get(listed[0], ""), COMPLEMENT.get(listed[1], ""))):
        if known in alleles:
            other = alleles[1 - alleles.index(known)]
            return (other, known) if place == 0 else (known, other)
    return own


@dataclass(frozen=True)
class _Finder:
    by_name: dict[str, int]
    by_site: dict[tuple[str, int], int | None]
    """``None``: several variants are there."""
    sites: list[tuple[str, int]]
    alleles: list[tuple[str, str]]

    @classmethod
    def of(cls, own: VariantList) -> _Finder:
        sites = list(zip(own.chromosomes.tolist(), own.positions.tolist(), strict=True))
        by_site: dict[tuple[str, int], int | None] = {}
        for column, site in enumerate(sites):
            by_site[site] = None if site in by_site else column
        return cls(
            by_name={name: column for column, name in enumerate(own.names.tolist())},
            by_site=by_site,
            sites=sites,
            alleles=list(zip(own.first.tolist(), own.second.tolist(), strict=True)),
        )

    def column(self, name: str, site: tuple[str, int]) -> int | None:
        known = self.by_name.get(name)
        return self.by_site.get(site) if known is None else known
