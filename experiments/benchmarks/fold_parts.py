"""What a fold is made of, part by part: reading the updates, and widening, multiplying and adding what is in the cache.

One thread each. The arithmetic is on one block again and again, so that it waits for no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BLOCK: Final = 2**15
PARTS: Final = {
    "read": "reading an update of {} float32 parameters once",
    "widen": "widening {} numbers to float64 in the cache",
    "multiply": "multiplying {} float64 numbers by a weight in the cache",
    "add": "adding {} float64 numbers to a sum in the cache",
    "fresh": "writing once to fresh memory for a sum of {} float64 numbers, an update's share of it",
}
"""Short name to words."""


def parts_of_a_fold(updates: Sequence[NDArray[np.float32]]) -> Mapping[str, Callable[[], None]]:
    """Each part of folding these updates, by its short name.

    Args:
        updates: ``[D]`` each.
    """
    size = updates[0].size
    blocks = range(len(updates) * (size // _BLOCK))
    values, product, total = np.ones(_BLOCK, dtype=np.float32), np.ones(_BLOCK), np.zeros(_BLOCK)

    def read() -> None:
        for update in updates:
            np.maximum.reduce(update)

    def widen() -> None:
        for _ in blocks:
            np.copyto(product, values)

    def multiply() -> None:
        for _ in blocks:
            np.multiply(product, 1.0, out=product)

    def add() -> None:
        for _ in blocks:
            np.add(total, product, out=total)

    def fresh() -> None:
        np.empty(size).fill(1.0)

    return {"read": read, "widen": widen, "multiply": multiply, "add": add, "fresh": fresh}
