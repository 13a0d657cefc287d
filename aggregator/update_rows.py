"""The updates of one round, one row for each site, outside of memory: read back a block of columns at a time.

A rule that compares sites needs all updates at once, and a running sum is not enough. They wait in an unnamed temporary file
(in memory while they are small), which vanishes with the process; whoever may read it may read the updates anyway,
because this mode shows them to the aggregator.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import Final

import numpy as np

from federation.algorithms.fedavg import Vector
from federation.errors import InvalidInputError

_STORED: Final = np.dtype("<f4")
_IN_MEMORY_BYTES: Final = 2**24
_BLOCK_NUMBERS: Final = 2**18
"""2 MiB: a rule holds a handful of such blocks, which stay in the cache, beside a few vectors of a model's length."""
_FEWEST_COLUMNS: Final = 2**11
"""Of a block: reading fewer at once from the file would cost more than computing with them."""


class UpdateRows:
    """Updates in the order in which they were added, as float32: what sites send.

    Args:
        num_columns: Numbers in an update.
        block_numbers: Numbers of a block, over all rows: what is in memory at once; ``None``: what a cache holds, and at least 2048
            columns.
    """

    def __init__(self, num_columns: int, *, block_numbers: int | None = None) -> None:
        self.sites: list[str] = []
        self.weights: list[float] = []
        self.num_columns = num_columns
        self._block_numbers = block_numbers
        # It lives as long as the round: closed by close(), or with the last reference to the rows.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
        self._close = weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self.sites)

    def append(self, site: str, update: Vector, *, weight: float) -> None:
        """Keep one update.

        Args:
            site: Whose it is.
            update: ``[num_columns]``, finite, within the range of float32.
            weight: Of the roster.

        Raises:
            InvalidInputError: If its length is wrong.
        """
        if update.shape != (self.num_columns,):
            raise InvalidInputError(f"expected an update of {self.num_columns} numbers, got {update.shape}")
        self._file.seek(0, 2)
        self._file.write(update.astype(_STORED).tobytes())
        self.sites.append(site)
        self.weights.append(weight)

    def blocks(self) -> Iterator[tuple[slice, Vector]]:
        """The columns of each block, and their numbers as ``[len(self), columns]`` float64. Any number of times."""
        if not self.sites:
            return
        width = self._width()
        for start in range(0, self.num_columns, width):
            stop = min(start + width, self.num_columns)
            block = np.empty((len(self), stop - start))
            for row in range(len(self)):
                self._file.seek((row * self.num_columns + start) * _STORED.itemsize)
                block[row] = np.frombuffer(self._file.read((stop - start) * _STORED.itemsize), dtype=_STORED)
            yield slice(start, stop), block

    def _width(self) -> int:
        if self._block_numbers is None:
            return max(_FEWEST_COLUMNS, _BLOCK_NUMBERS // len(self))
        return max(1, self._block_numbers // len(self))

    def close(self) -> None:
        """Forget the updates. Safe to call twice."""
        self._close()
