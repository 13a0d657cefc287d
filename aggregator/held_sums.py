"""Running sums to which large updates are added a few at a time, so that a sum is read and written once for all of them.

Axis: ``D`` numbers of a vector. Adding one float32 update moves 4 bytes of it and 16 of the float64 sum for every number; eight
together move 4 and 2 each. A sum that stays in the cache gains nothing, so small updates never wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from aggregator.running_sums import FloatVector, Term, add_weighted
from federation.algorithms.fedavg import Vector

HELD_BYTES: Final = 2**28
"""Of updates that wait, at most: 256 MiB, whatever the number of sites and the length of an update."""
_HELD_UPDATES: Final = 8
"""At most: the sum's share of the bytes is then half of the update's own, and more gain nothing that can be measured."""
_WORTH_HOLDING: Final = 2**19
"""Numbers of a vector, at least: below, the sum is in the cache and comes from there as fast."""


class HeldSums:
    """Weighted sums under names. What is seen from outside is always the sum of everything added so far, in its order.

    Updates wait until there are eight, or until one more would exceed ``held_bytes``; reading the sums adds what waits. Memory is
    the sums, at most ``held_bytes`` of updates and a block for each thread.

    Args:
        size: D.
        threads: That add a large vector, at most; ``None``: as many as there are cores.
        held_bytes: Of updates that wait, at most. Where two do not fit, each is added at once.
    """

    def __init__(self, size: int, *, threads: int | None = None, held_bytes: int = HELD_BYTES) -> None:
        self._size = size
        self._threads = threads
        self._held_bytes = held_bytes
        self._totals: dict[str, Vector] = {}
        self._waiting: dict[str, list[Term]] = {}

    @property
    def names(self) -> set[str]:
        """Of the vectors; empty before the first."""
        return {*self._totals, *self._waiting}

    def add(self, vectors: Mapping[str, FloatVector], *, weight: float, may_wait: bool = False) -> None:
        """``sum += weight * vector`` in float64, under every name.

        Args:
            vectors: ``[D]`` each, under the same names in every call; the caller has checked both.
            weight: Of these vectors.
            may_wait: Nobody changes the vectors any more. They may then be kept, without a copy, and added later.
        """
        if self._waiting and not self._has_room_for(vectors):
            self._add_waiting()
        for name, vector in vectors.items():
            self._waiting.setdefault(name, []).append((vector, weight))
        if not (may_wait and self._size >= _WORTH_HOLDING and self._has_room_for(vectors)):
            self._add_waiting()

    def totals(self) -> dict[str, Vector]:
        """Name to sum ``[D]``, after adding what waits; the sums themselves, which later calls of ``add`` change."""
        self._add_waiting()
        return self._totals

    def replace(self, totals: Mapping[str, Vector]) -> None:
        """Begin again with these sums, which are changed in place from now on; what waits is forgotten."""
        self._waiting = {}
        self._totals = dict(totals)

    def _has_room_for(self, vectors: Mapping[str, FloatVector]) -> bool:
        """Whether one more contribution of this kind may wait beside those that do."""
        waiting = [vector for terms in self._waiting.values() for vector, _ in terms]
        number = max((len(terms) for terms in self._waiting.values()), default=0)
        total = sum(vector.nbytes for vector in (*waiting, *vectors.values()))
        return number < _HELD_UPDATES and total <= self._held_bytes

    def _add_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for name, terms in waiting.items():
            starts = name not in self._totals
            if starts:
                self._totals[name] = np.empty(self._size)
            add_weighted(self._totals[name], terms, starts=starts, threads=self._threads)
