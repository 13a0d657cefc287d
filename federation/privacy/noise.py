"""Gaussian noise in whole grid steps, and the release of a noisy mean.

Each draw is a Box-Muller normal of two 53-bit uniforms of the ChaCha20 key-stream, rounded to the grid *before* it
meets the sum of the patients. The gaps between the floating-point normals (Mironov 2012; Jin et al. 2022, arXiv
2112.05307) are some 2**26 times finer than a grid step and vanish in the rounding, and what is released is the sum of
two whole numbers. Beyond 8.5 standard deviations, a probability below 1e-16 a coordinate, nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.random import Generator

from federation.privacy.clipping import GRID_BITS, FloatArray, grid_step
from federation.privacy.keystream import KeyStream
from federation.privacy.promise import MechanismSpec

_PAIRS: Final = 2**14
"""Pairs of normals made at once: what they need fits into a core's cache."""
LONGEST_BLOCK: Final = 2 * _PAIRS
"""Normals of one block: a block's first half is made of the cosines, its second half of the sines."""
_DISCARDED_BITS: Final = 11
"""A 64-bit word keeps its upper 53 bits, a float64's."""


def standard_normal(size: int, *, generator: Generator | KeyStream) -> FloatArray:
    """``[size]`` independent draws of mean 0 and variance 1 (Box & Muller 1958).

    Args:
        size: At least 0.
        generator: A cryptographic stream; gives one key, whatever the size. A key-stream gives as many words, to an even number.
    """
    normals = np.empty(size + size % 2)
    for start, block in _normal_blocks(size, generator=generator):
        normals[start : start + len(block)] = block
    return normals[:size]


def _normal_blocks(size: int, *, generator: Generator | KeyStream) -> Iterator[tuple[int, FloatArray]]:
    """(first coordinate, its normals) for blocks that stay in a core's cache. A block is overwritten by the next."""
    stream = KeyStream.of(generator)
    even = size + size % 2
    buffer = torch.empty(min(even, LONGEST_BLOCK), dtype=torch.float64)
    spare = torch.empty(buffer.numel() // 2, dtype=torch.float64)
    for start in range(0, size, LONGEST_BLOCK):
        block = buffer[: even - start]
        write_normals(uniform_words(stream, block.numel()), out=block, spare=spare[: block.numel() // 2])
        yield start, block.numpy()


def uniform_words(stream: KeyStream, count: int) -> torch.Tensor:
    """The stream's next words, cut to the bits that normals are made of.

    Args:
        stream: Goes on by ``count`` words.
        count: At least 0.

    Returns:
        ``[count]`` int64, uniform on 0 to ``2**53 - 1``.
    """
    words = stream.words(count)
    np.right_shift(words, np.uint64(_DISCARDED_BITS), out=words)
    return torch.from_numpy(words.view(np.int64))


def write_normals(words: torch.Tensor, *, out: torch.Tensor, spare: torch.Tensor) -> None:
    """Make normals of words: of one stream, or of many steps of it at once, the same that each gives by itself.

    Through torch, because its logarithm, cosine and sine are vectorised.

    Args:
        words: ``[..., 2 n]`` of :func:`uniform_words`, 2 n at most :data:`LONGEST_BLOCK`.
        out: ``[..., 2 n]`` float64, overwritten.
        spare: ``[..., n]`` float64, overwritten.
    """
    pairs = words.shape[-1] // 2
    out.copy_(words)
    radius, angle = out[..., :pairs], out[..., pairs:]
    # In (0, 1]: the logarithm of zero must not exist.
    radius.add_(1.0).mul_(2.0**-53).log_().mul_(-2.0).sqrt_()
    angle.mul_(2.0**-53 * 2 * math.pi)
    torch.cos(angle, out=spare)
    angle.sin_().mul_(radius)
    radius.mul_(spare)


def grid_noise(size: int, *, mechanism: MechanismSpec, generator: Generator | KeyStream) -> FloatArray:
    """Noise of the mechanism's standard deviation, in whole grid steps.

    Args:
        size: Number of coordinates D.
        mechanism: Sets the noise multiplier; the clipping norm is ``2**24`` grid steps by definition of the grid.
        generator: A cryptographic stream, see :mod:`federation.privacy.randomness`.

    Returns:
        ``[D]`` whole numbers as float64.
    """
    noise = np.empty(size)
    for start, block in _normal_blocks(size, generator=generator):
        noise[start : start + len(block)] = _on_grid(block, mechanism)[: size - start]
    return noise


def _on_grid(normals: FloatArray, mechanism: MechanismSpec) -> FloatArray:
    normals *= mechanism.noise_multiplier * 2.0**GRID_BITS
    return np.rint(normals, out=normals)


def noisy_mean(patient_sum: FloatArray, *, mechanism: MechanismSpec, generator: Generator | KeyStream) -> FloatArray:
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
    size = patient_sum.size
    released = np.empty(size)
    factor = grid_step(mechanism.clipping_norm) / mechanism.divisor
    for start, block in _normal_blocks(size, generator=generator):
        noise = _on_grid(block, mechanism)[: size - start]
        noise += patient_sum[start : start + len(noise)]
        np.multiply(noise, factor, out=released[start : start + len(noise)])
    return released
