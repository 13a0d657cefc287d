"""Adding a vector to a running sum in place: a block of coordinates at a time, on every core.

Float32 goes in and float64 is kept. A block is widened, multiplied by its weight and added while it is in the cache, so that no
copy of a model is made; NumPy gives up the interpreter's lock meanwhile. A coordinate belongs to one block and is computed in one
way, so neither the blocks nor the number of threads can change a bit of the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.algorithms.fedavg import Vector

FloatVector = NDArray[np.float32] | NDArray[np.float64]

_BLOCK: Final = 2**15
"""Numbers: their products take 256 KiB, which stay in the cache beside the sum's own."""
_WORTH_A_THREAD: Final = 2**19
"""Numbers of a thread, at least: below, starting it takes longer than the sum."""
_MOST_THREADS: Final = 8
"""More than these only wait for memory."""


def add_weighted(total: Vector, values: FloatVector, *, weight: float, threads: int | None = None) -> None:
    """``total += weight * values``, each product and each sum rounded to float64.

    Args:
        total: ``[D]``, changed in place.
        values: ``[D]``.
        weight: Of the values.
        threads: At most; ``None``: as many as there are cores.
    """

    def work(start: int, stop: int) -> None:
        product = np.empty(min(_BLOCK, stop - start))
        for first in range(start, stop, _BLOCK):
            last = min(first + _BLOCK, stop)
            block = product[: last - first]
            _multiply(values[first:last], weight, out=block)
            np.add(total[first:last], block, out=total[first:last])

    _shared_out(work, len(total), threads)


def set_weighted(total: Vector, values: FloatVector, *, weight: float, threads: int | None = None) -> None:
    """``total = weight * values``: the first of a sum, so that a negative zero stays one.

    Args:
        total: ``[D]``, overwritten.
        values: ``[D]``.
        weight: Of the values.
        threads: As :func:`add_weighted`.
    """

    def work(start: int, stop: int) -> None:
        for first in range(start, stop, _BLOCK):
            last = min(first + _BLOCK, stop)
            _multiply(values[first:last], weight, out=total[first:last])

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
