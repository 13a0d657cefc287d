"""One patient's vector in whole grid steps, of a norm that whole numbers prove; sums of them with a site's share of the noise.

A vector is shortened to norm 1, moved to the grid by rounding at random to one of the two neighbours so that the mean stays where
it was (a sum over many patients would otherwise drift by half a grid step for each), and its norm is then taken in whole numbers:
where rounding made it too long, it is cut towards zero instead (conditional rounding; Kairouz, Liu & Steinke 2021, section 4.1).
So the sum over patients moves by at most ``2**grid_bits`` when a patient comes or goes, whatever the values were, and whatever
the rounding of the others was.

Axis names: P patients, L numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from federation.privacy.clipping import clip, to_grid

FloatArray = NDArray[np.float64]
IntegerArray = NDArray[np.int64]

_SPARE: Final = 4.0
"""Grid steps by which the length of a randomly rounded vector hardly ever exceeds its mean."""


def room_on_grid(length: int, *, grid_bits: int) -> float:
    """By which part vectors are made shorter, so that random rounding hardly ever has to be taken back.

    Rounding adds at most ``L / 4`` to the squared norm in the mean. Sums are divided by the rest, so no count loses anything.

    Args:
        length: L.
        grid_bits: Norm 1 is ``2**grid_bits`` grid steps.
    """
    return min((_SPARE + length * 2.0 ** -(grid_bits + 3)) * 2.0**-grid_bits, 0.5)


def whole_vectors(vectors: FloatArray, *, grid_bits: int, generator: Generator) -> IntegerArray:
    """``[P, L]`` whole grid steps; the squares of a row add up to at most ``4**grid_bits``, checked in whole numbers.

    Args:
        vectors: ``[P, L]`` scaled, of norm about 1; longer rows are shortened. A row that is not finite becomes zero.
        grid_bits: Norm 1 is ``2**grid_bits`` grid steps.
        generator: A cryptographic stream, for the rounding.
    """
    room = room_on_grid(vectors.shape[1], grid_bits=grid_bits)
    target = clip(vectors, clipping_norm=1.0) * ((1.0 - room) * 2.0**grid_bits)
    lower = np.floor(target)
    whole = (lower + (generator.random(target.shape) < target - lower)).astype(np.int64)
    cut = to_grid(target, clipping_norm=1.0, grid_bits=0).astype(np.int64)
    for shorter in (cut, np.zeros_like(cut)):
        too_long = (whole * whole).sum(axis=1) > 4**grid_bits
        whole[too_long] = shorter[too_long]
    return whole


def whole_sum(blocks: Iterable[FloatArray], *, length: int, grid_bits: int, generator: Generator) -> IntegerArray:
    """``[L]`` the sum over patients.

    Args:
        blocks: ``[P, L]`` each; every patient is a row of one of them.
        length: L.
        grid_bits: Norm 1 is ``2**grid_bits`` grid steps.
        generator: For the rounding.
    """
    total = np.zeros(length, dtype=np.int64)
    for block in blocks:
        total += whole_vectors(block, grid_bits=grid_bits, generator=generator).sum(axis=0)
    return total
