"""Gaussian noise in whole grid steps, and the release of a noisy mean.

Each draw is a Box-Muller normal of two 52-bit uniforms of the ChaCha20 key-stream, rounded to the grid *before* it
meets the sum of the patients. The gaps between the floating-point normals (Mironov 2012; Jin et al. 2022, arXiv
2112.05307) are some 2**25 times finer than a grid step and vanish in the rounding, and what is released is the sum of
two whole numbers. Beyond 8.5 standard deviations, a probability below 1e-16 a coordinate, nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, overload

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from federation.errors import InternalError
from federation.privacy.clipping import GRID_BITS, FloatArray, grid_step
from federation.privacy.kept_memory import kept_memory
from federation.privacy.keystream import KeyStream
from federation.privacy.promise import MechanismSpec

_PAIRS: Final = 2**14
"""Pairs of normals made at once: what they need fits into a core's cache."""
LONGEST_BLOCK: Final = 2 * _PAIRS
"""Normals of one block: a block's first half is made of the cosines, its second half of the sines."""
_DISCARDED_BITS: Final = np.uint64(12)
"""A 64-bit word keeps its upper 52 bits, the fraction of a float64."""
_ONE: Final = np.uint64(0x3FF0_0000_0000_0000)
"""Sign and exponent of a float64 from 1 to below 2."""


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


class StepNoise:
    """The noise of a round's steps: what one key-stream gives step after step, made ahead where a step needs little of it.

    Making a few thousand normals is calling a dozen operations; the numbers of as many steps as fit into a core's cache are made
    by the same calls. They are those that each step would have made.

    Args:
        stream: Goes on by what all steps need, and serves nothing else.
        size: Number of coordinates D.
        num_steps: Of the round; more may be asked for.
    """

    __slots__ = ("_even", "_made", "_next", "_size", "_spare", "_stream", "_to_come", "rounded")

    def __init__(self, stream: KeyStream, *, size: int, num_steps: int) -> None:
        self._stream, self._size = stream, size
        self._even = size + size % 2
        self._to_come = num_steps
        ahead = min(num_steps, LONGEST_BLOCK // max(1, self._even))
        self._made = torch.empty((ahead, self._even), dtype=torch.float64)
        self._spare = torch.empty((ahead, self._even // 2), dtype=torch.float64)
        self._next = ahead
        self.rounded: Final = None if ahead else kept_memory("released", size, dtype=torch.float32)

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """(first coordinate, its normals) of the next step. A block may be changed, and is overwritten later.

        Raises:
            InternalError: If another number of coordinates is asked for.
        """
        if size != self._size:
            raise InternalError(f"expected noise for {self._size} coordinates, got {size}")
        if not len(self._made):  # a step is at least a whole block by itself
            yield from _blocks_of(self._stream, size)
            return
        if self._next == len(self._made):
            self._make()
        self._next += 1
        yield 0, self._made[self._next - 1].numpy()

    def _make(self) -> None:
        """The normals of the next steps; of no more than are to come, and of one if there are more steps than were expected."""
        number = min(len(self._made), max(1, self._to_come))
        self._to_come -= number
        first = len(self._made) - number
        steps = self._made[first:]
        write_uniforms(self._stream, steps)
        write_normals(steps, out=steps, spare=self._spare[first:])
        self._next = first


Noise = Generator | KeyStream | StepNoise
"""Where noise is from."""


def _normal_blocks(size: int, *, generator: Noise) -> Iterator[tuple[int, FloatArray]]:
    """(first coordinate, its normals) for blocks that stay in a core's cache. A block is overwritten by the next."""
    if isinstance(generator, StepNoise):
        return generator.blocks(size)
    return _blocks_of(KeyStream.of(generator), size)


def _blocks_of(stream: KeyStream, size: int) -> Iterator[tuple[int, FloatArray]]:
    even = size + size % 2
    buffer = kept_memory("normals", min(even, LONGEST_BLOCK))
    spare = kept_memory("half of the normals", buffer.numel() // 2)
    for start in range(0, size, LONGEST_BLOCK):
        block = buffer[: even - start]
        write_uniforms(stream, block)
        write_normals(block, out=block, spare=spare[: block.numel() // 2])
        yield start, block.numpy()


def uniform_words(stream: KeyStream, count: int) -> torch.Tensor:
    """The stream's next words as :func:`write_uniforms` makes numbers of them: ``[count]`` float64."""
    uniforms = torch.empty(count, dtype=torch.float64)
    write_uniforms(stream, uniforms)
    return uniforms


def write_uniforms(stream: KeyStream, out: torch.Tensor) -> None:
    """Numbers that normals are made of: uniform on the multiples of ``2**-52`` from 1 to below 2.

    A word's upper bits are put where a float64 between 1 and 2 has its fraction: that needs no conversion and no other memory.

    Args:
        stream: Goes on by a word for each number.
        out: Contiguous float64 on the CPU, overwritten.
    """
    words = out.numpy().reshape(-1).view(np.uint64)
    stream.write(words)
    np.right_shift(words, _DISCARDED_BITS, out=words)
    np.bitwise_or(words, _ONE, out=words)


def write_normals(uniforms: torch.Tensor, *, out: torch.Tensor, spare: torch.Tensor) -> None:
    """Make normals of uniforms: of one stream, or of many steps of it at once, the same that each gives by itself.

    Through torch, because its logarithm, cosine and sine are vectorised.

    Args:
        uniforms: ``[..., 2 n]`` of :func:`write_uniforms`, 2 n at most :data:`LONGEST_BLOCK`.
        out: ``[..., 2 n]`` float64, overwritten; may be the uniforms themselves.
        spare: ``[..., n]`` float64, overwritten.
    """
    pairs = uniforms.shape[-1] // 2
    radius, angle = out[..., :pairs], out[..., pairs:]
    # In (0, 1]: the logarithm of zero must not exist. A whole turn more is the same angle.
    torch.sub(uniforms[..., :pairs], 1.0 - 2.0**-52, out=radius).log_().mul_(-2.0).sqrt_()
    torch.mul(uniforms[..., pairs:], 2 * math.pi, out=angle)
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


@overload
def noisy_mean(
    patient_sum: FloatArray, *, mechanism: MechanismSpec, generator: Generator | KeyStream
) -> FloatArray: ...
@overload
def noisy_mean(
    patient_sum: FloatArray, *, mechanism: MechanismSpec, generator: StepNoise
) -> NDArray[np.float64 | np.float32]: ...
def noisy_mean(
    patient_sum: FloatArray, *, mechanism: MechanismSpec, generator: Noise
) -> NDArray[np.float64 | np.float32]:
    """Add noise to the patients' clipped sum and divide by the public divisor: the only thing a step releases.

    Nothing here depends on how many patients there are: neighbouring data sets get the same noise and the same divisor.

    Args:
        patient_sum: ``[D]`` in grid steps, from :func:`federation.privacy.clipping.clipped_sum`; zero if nobody was
            drawn.
        mechanism: Noise multiplier, clipping norm and divisor.
        generator: A cryptographic stream.

    Returns:
        ``[D]`` in units of the gradient, float64; of a :class:`StepNoise` of many coordinates rounded to float32, which is what
        parameters are, and the caller's until the next step only.
    """
    size = patient_sum.size
    released = generator.rounded if isinstance(generator, StepNoise) else None
    if released is None:
        released = torch.empty(size, dtype=torch.float64)
    factor = grid_step(mechanism.clipping_norm) / mechanism.divisor
    for start, block in _normal_blocks(size, generator=generator):
        noise = _on_grid(block, mechanism)[: size - start]
        noise += patient_sum[start : start + len(noise)]
        noise *= factor
        released[start : start + len(noise)].copy_(torch.from_numpy(noise))
    return released.numpy()
