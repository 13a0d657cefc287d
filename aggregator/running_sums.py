"""Adding vectors to a running sum in place: a block of coordinates at a time, on every core.

Float32 goes in and float64 is kept. A block is widened, multiplied by its weight and added while it is in the cache, so that no
copy of a model is made; NumPy gives up the interpreter's lock meanwhile. Vectors that are added together share one pass: each block
of the sum comes from memory and goes back once for all of them. A coordinate belongs to one block, and its terms are added to it
one after another in their order, so neither the blocks nor the number of threads nor how many vectors share a pass can change a bit
of the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.algorithms.fedavg import Vector

FloatVector = NDArray[np.float32] | NDArray[np.float64]
Term = tuple[FloatVector, float]
"""Values ``[D]`` and the weight that they are multiplied by."""

_BLOCK: Final = 2**15
"""Numbers: their products take 256 KiB, which stay in the cache beside the sum's own."""
_WORTH_A_THREAD: Final = 2**19
"""Numbers of a thread, at least: below, starting it takes longer than the sum."""
_MOST_THREADS: Final = 8
"""More than these only wait for memory."""


def add_weighted(total: Vector, terms: Sequence[Term], *, starts: bool = False, threads: int | None = None) -> None:
    """``total += weight * values`` for one term after another, each product and each sum rounded to float64.

    Args:
        total: ``[D]``, changed in place.
        terms: Values ``[D]`` and their weight, in the order of addition.
        starts: ``total`` holds nothing yet: the first product is put there, so that a negative zero stays one.
        threads: At most; ``None``: as many as there are cores.
    """
    first, rest = (terms[:1], terms[1:]) if starts else ((), terms)

    def work(start: int, stop: int) -> None:
        product = np.empty(min(_BLOCK, stop - start))
        for begin in range(start, stop, _BLOCK):
            end = min(begin + _BLOCK, stop)
            block, summed = product[: end - begin], total[begin:end]
            for values, weight in first:
                _multiply(values[begin:end], weight, out=summed)
            for values, weight in rest:
                _multiply(values[begin:end], weight, out=block)
                np.add(summed, block, out=summed)

    _shared_out(work, len(total), threads)


def is_finite(values: FloatVector, *, threads: int | None = None) -> bool:
    """Whether no number is NaN or infinite.

    Args:
        values: ``[D]``.
        threads: As :func:`add_weighted`.
    """
    broken: list[int] = []

    def work(start: int, stop: int) -> None:
        for first in range(start, stop, _BLOCK):
            if not np.isfinite(values[first : min(first + _BLOCK, stop)]).all():
                broken.append(first)
                return

    _shared_out(work, len(values), threads)
    return not broken


def _multiply(values: FloatVector, weight: float, *, out: Vector) -> None:
    np.copyto(out, values)
    if weight != 1.0:
        np.multiply(out, weight, out=out)


def _shared_out(work: Callable[[int, int], None], size: int, threads: int | None) -> None:
    """Do the work on as many parts as are worth a thread; the first part here."""
    number = max(1, min(_cores() if threads is None else threads, size // _WORTH_A_THREAD))
    share = -(-size // (number * _BLOCK)) * _BLOCK
    parts = [(start, min(start + share, size)) for start in range(0, size, share)]
    if len(parts) <= 1:
        for start, stop in parts:
            work(start, stop)
        return
    with ThreadPoolExecutor(max_workers=len(parts) - 1, thread_name_prefix="fold") as pool:
        others = [pool.submit(work, start, stop) for start, stop in parts[1:]]
        work(*parts[0])
        for other in others:
            other.result()


def _cores() -> int:
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
