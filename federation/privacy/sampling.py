"""Poisson sampling over patients with an exactly representable public probability.

Every patient enters a step by a draw of its own, so the number drawn varies and may be zero. Shuffled or fixed-size
batches would not have the privacy that the accountant computes for Poisson sampling (Chua et al. 2024; Annamalai et al.
2024).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.privacy.events import PROBABILITY_DENOMINATOR
from federation.privacy.keystream import KeyStream

_DISCARDED_BITS: Final = 11
"""A 64-bit word keeps its upper 53 bits: uniform on the whole numbers below the denominator of a probability."""


def poisson_sample(num_patients: int, *, numerator: int, generator: Generator | KeyStream) -> NDArray[np.int64]:
    """Draw each patient independently with probability ``numerator / 2**53``.

    Args:
        num_patients: At least 0.
        numerator: Whole number from 1 to 2**53. The comparison is between whole numbers, so the probability is exact.
        generator: A cryptographic stream, see :mod:`federation.privacy.randomness`; a key-stream gives ``num_patients`` words.

    Returns:
        ``[drawn]`` increasing patient indices; possibly none.

    Raises:
        InvalidInputError: If an argument is out of range.
    """
    if num_patients < 0 or not 1 <= numerator <= PROBABILITY_DENOMINATOR:
        raise InvalidInputError(
            f"expected num_patients >= 0 and a numerator from 1 to 2**53, got {num_patients} and {numerator}"
        )
    words = KeyStream.of(generator).words(num_patients)
    # What a word's upper bits are compared with, compared with the whole word: it is below just as often.
    last = np.uint64((numerator << _DISCARDED_BITS) - 1)
    return np.flatnonzero(words <= last).astype(np.int64, copy=False)
