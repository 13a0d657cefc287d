"""Sums of real numbers over sites that are exact: fixed point with 104 bits, in two 64-bit numbers each.

One 64-bit number with room for sums over many sites leaves too few binary places for the sums of a regression, whose sizes differ
by many powers of ten. Each value is therefore a multiple of ``2**-60`` below ``2**44``, written as a high and a low part of 52
bits. Every float64 from ``2**-7`` on is such a multiple exactly, so what the aggregator decodes is the exact sum of the sites'
numbers, rounded once: the same with and without masks, in whatever order sites come.

>>> import numpy as np
>>> words = encode(np.array([0.1, -3.0e9])) + encode(np.array([0.2, 1.0]))
>>> [float(value) for value in decode(words)]
[0.30000000000000004, -2999999999.0]
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.protocol.secure_sum.quantization import IntegerSource

FloatArray = NDArray[np.float64]
Words = NDArray[np.int64]
"""``[2 m]``: the high parts of m values, then their low parts."""

FRACTION_BITS: Final = 60
PART_BITS: Final = 52
MOST_SITES: Final = 1000
"""A thousand parts of 52 bits stay below 2**63."""
LARGEST: Final = 2.0 ** (2 * PART_BITS - FRACTION_BITS)
"""No site's value reaches plus or minus this."""
_LARGEST_PART: Final = 2**PART_BITS


def encode(values: FloatArray) -> Words:
    """A site's values as two whole numbers each.

    Args:
        values: ``[m]``, finite and below :data:`LARGEST` in size.

    Returns:
        ``[2 m]``; high parts from ``-2**52`` to ``2**52``, low parts from 0 below ``2**52``.

    Raises:
        InvalidInputError: If a value is not finite or too large. The message shows none.
    """
    if values.ndim != 1 or not (np.isfinite(values).all() and np.all(np.abs(values) < LARGEST)):
        raise InvalidInputError(
            "expected a vector of finite sums below 2**44 in size, got another",
            remedy="narrow the plausible ranges in the contract, or remove an offset that makes rates huge",
        )
    fixed = np.rint(np.ldexp(values, FRACTION_BITS))
    high = np.floor(np.ldexp(fixed, -PART_BITS))
    low = fixed - np.ldexp(high, PART_BITS)
    return np.concatenate([high, low]).astype(np.int64)


def encode_whole(values: FloatArray) -> Words:
    """A site's counts as one whole number each; their sums are exact below 2**53.

    Args:
        values: ``[m]`` whole numbers of at most ``2**52`` in size.

    Raises:
        InvalidInputError: If a value is another. The message shows none.
    """
    is_whole = np.isfinite(values) & (np.abs(values) <= _LARGEST_PART) & (np.rint(values) == values)
    if values.ndim != 1 or not is_whole.all():
        raise InvalidInputError(
            "expected a vector of whole numbers up to 2**52 in size, got another", remedy="send counts only"
        )
    return values.astype(np.int64)


def decode(total: Words) -> FloatArray:
    """The sums of an opened total.

    Args:
        total: ``[2 m]``, words of all sites added up.

    Returns:
        ``[m]``, each the exact sum, rounded once to float64.
    """
    half = len(total) // 2
    low = total[half:] & (_LARGEST_PART - 1)
    high = total[:half] + (total[half:] >> PART_BITS)
    # Both parts are float64 without rounding while the high one is below 2**53, so their addition rounds once.
    found = np.ldexp(np.ldexp(high.astype(np.float64), PART_BITS) + low.astype(np.float64), -FRACTION_BITS)
    for place in np.flatnonzero(np.abs(high) > 2 * _LARGEST_PART).tolist():
        found[place] = ((int(high[place]) << PART_BITS) + int(low[place])) / (1 << FRACTION_BITS)
    return found


def source(words: Words, *, sites: int) -> IntegerSource:
    """A site's words for the 64-bit part of a secure sum.

    Args:
        words: From :func:`encode`.
        sites: All sites of the roster, at most :data:`MOST_SITES`.

    Raises:
        InvalidInputError: If there are too many sites for the sum to fit.
    """
    return IntegerSource(words, largest=_LARGEST_PART, sites=sites, bits=64)
