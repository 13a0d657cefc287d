"""Simulated sites that name their alleles in another way than the study's list: swapped, on the other strand, wrong, absent.

Axis names: R people, V variants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.privacy.randomness import RandomStreams
from federation.statistics.genotypes.variants import COMPLEMENT, VariantList

BoolArray = NDArray[np.bool_]
CopyArray = NDArray[np.int8]
_SHARE: Final = 0.1
"""Of a disarranged site's variants: swapped, and flipped."""
_WRONG: Final = 5
"""Variants each: with another allele, at another position, left out."""


@dataclass(frozen=True)
class Disarranged:
    """A site's own list, and how its copies differ from the study's.

    Args:
        variants: Of the site's file.
        columns: ``[V of the site]`` place in the study's list.
        is_swapped: ``[V of the site]`` whether copies of the other allele are counted.
    """

    variants: VariantList
    columns: NDArray[np.int64]
    is_swapped: BoolArray

    def copies(self, block: CopyArray) -> CopyArray:
        """``[R, V of the site]`` in the site's own terms, from ``[R, V]`` in the study's."""
        own = block[:, self.columns]
        return np.where(self.is_swapped & (own >= 0), 2 - own, own).astype(np.int8)


def disarranged(listed: VariantList, place: int, streams: RandomStreams) -> Disarranged:
    """The list as a site might have it.

    Args:
        listed: The study's list.
        place: Of the site: of each three, one keeps everything, one swaps alleles, one swaps and reads the other strand, has wrong
            alleles and positions, and leaves variants out.
        streams: For the choice.
    """
    count = len(listed)
    draw = streams.stream("disarranged", place)
    is_swapped = (draw.random(count) < _SHARE) & (place % 3 > 0)
    is_flipped = (draw.random(count) < _SHARE) & (place % 3 == 2)  # noqa: PLR2004 - the last of three
    first = np.where(is_swapped, listed.second, listed.first)
    second = np.where(is_swapped, listed.first, listed.second)
    turned = np.vectorize(lambda allele: COMPLEMENT.get(allele, allele), otypes=[first.dtype])
    own = replace(
        listed,
        first=np.where(is_flipped, turned(first), first),
        second=np.where(is_flipped, turned(second), second),
    )
    columns = np.arange(count)
    if place % 3 == 2 and count > 10 * _WRONG:  # noqa: PLR2004 - the last of three
        chosen = draw.permutation(count)[: 3 * _WRONG]
        alleles, positions = own.first.astype("<U8"), own.positions.copy()
        alleles[chosen[:_WRONG]] = "INS"
        positions[chosen[_WRONG : 2 * _WRONG]] += 1
        own = replace(own, first=alleles, positions=positions)
        columns = np.setdiff1d(columns, chosen[2 * _WRONG :])
    return Disarranged(variants=own.rows(columns), columns=columns, is_swapped=is_swapped[columns])
