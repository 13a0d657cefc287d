"""Gaussian noise in whole grid steps, and the release of a noisy mean.

Each draw is a Box-Muller normal of two 53-bit uniforms of the ChaCha20 key-stream, rounded to the grid *before* it
meets the sum of the patients. The gaps between the floating-point normals (Mironov 2012; Jin et al. 2022, arXiv
2112.05307) are some 2**26 times finer than a grid step and vanish in the rounding, and what is released is the sum of
two whole numbers. Beyond 8.5 standard deviations, a probability below 1e-16 a coordinate, nothing is drawn.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.random import Generator

from federation.privacy.clipping import GRID_BITS, FloatArray, grid_step
from federation.privacy.keystream import KeyStream
from federation.privacy.promise import MechanismSpec

_PAIRS: Final = 2**14
"""Pairs of normals made at once: what they need fits into a core's cache."""
_DISCARDED_BITS: Final = 11
"""A 64-bit word keeps its upper 53 bits, a float64's."""


def standard_normal(size: int, *, generator: Generator) -> FloatArray:
    """``[size]`` independent draws of mean 0 and variance 1 (Box & Muller 1958).

    Args:
        size: At least 0.
        generator: A cryptographic stream; gives one key, whatever the size.
    """
    stream = KeyStream.from_generator(generator)
    normals = np.empty(size + size % 2)
    for start in range(0, len(normals), 2 * _PAIRS):
        block = normals[start : start + 2 * _PAIRS]
        _box_muller(stream, torch.from_numpy(block))
    return normals[:size]


def _box_muller(stream: KeyStream, block: torch.Tensor) -> None:
    """Fill ``[2 * pairs]`` with normals, through torch because its logarithm and cosine are vectorised."""
    pairs = block.numel() // 2
    words = (stream.words(2 * pairs) >> np.uint64(_DISCARDED_BITS)).astype(np.float64)
    uniform = torch.from_numpy(words)
    # In (0, 1]: the logarithm of zero must not exist.
    radius = uniform[:pairs].add_(1.0).mul_(2.0**-53).log_().mul_(-2.0).sqrt_()
    angle = uniform[pairs:].mul_(2.0**-53 * 2 * math.pi)
    torch.cos(angle, out=block[:pairs]).mul_(radius)
    torch.sin(angle, out=block[pairs:]).mul_(radius)


def grid_noise(size: int, *, mechanism: MechanismSpec, generator: Generator) -> FloatArray:
    """Noise of the mechanism's standard deviation, in whole grid steps.

    Args:
        size: Number of coordinates D.
        mechanism: Sets the noise multiplier; the clipping norm is ``2**24`` grid steps by definition of the grid.
        generator: A cryptographic stream, see :mod:`federation.privacy.randomness`.

    Returns:
        ``[D]`` whole numbers as float64.
    """
    noise = standard_normal(size, generator=generator)
    noise *= mechanism.noise_multiplier * 2.0**GRID_BITS
    return np.rint(noise, out=noise)


def noisy_mean(patient_sum: FloatArray, *, mechanism: MechanismSpec, generator: Generator) -> FloatArray:
    """Add noise to the patients' clipped sum and divide by the public divisor: the only thing a step releases.

    Nothing here depends on how many patients there are: neighbouring data sets get the same noise and the same divisor.

    Args:
        patient_sum: ``[D]`` in grid steps, from :func:`federation.privacy.clipping.clipped_sum`; zero if nobody was
            drawn.
        mechanism: Noise multiplier, clipping norm and divisor.
        generator: A cryptographic stream.

    Returns:
        ``[D]`` float64, in units of the gradient.
    """
    total = grid_noise(patient_sum.size, mechanism=mechanism, generator=generator)
    total += patient_sum
    return total * (grid_step(mechanism.clipping_norm) / mechanism.divisor)
