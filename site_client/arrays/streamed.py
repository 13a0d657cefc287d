"""Encoded records that stay on the disk: a table of features of which a pass reads only the rows that it needs.

Tabular features are in memory, arrays are row numbers of stored files. Whoever holds a :class:`StreamedRows` can index rows as in
a NumPy matrix and gets float32; the whole can be had by nobody, so that no line of code loads a hospital's images by accident.

Axis names: R records, F features, n chosen rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.data.arrays import ArrayVariable, encode_array
from federation.errors import InternalError
from site_client.arrays.stored import IndexArray, StoredArray

Rows = IndexArray | NDArray[np.bool_] | slice


@dataclass(frozen=True)
class DenseBlock:
    """Features of tabular variables, in memory: ``[R, f]`` float32."""

    values: NDArray[np.float32] = field(repr=False)

    @property
    def width(self) -> int:
        """F."""
        return self.values.shape[1]


@dataclass(frozen=True)
class ArrayBlock:
    """One array a record, on the disk.

    Args:
        variable: Supplies shape and range.
        files: Where the arrays are; several after sites are joined in a simulation.
        file: ``[R]`` which of them.
        row: ``[R]`` row in it.
    """

    variable: ArrayVariable
    files: tuple[StoredArray, ...]
    file: IndexArray = field(repr=False)
    row: IndexArray = field(repr=False)

    @property
    def width(self) -> int:
        """F of the variable."""
        return self.variable.size


Block = DenseBlock | ArrayBlock


class StreamedRows:
    """Encoded features (or masks) of R records.

    Args:
        blocks: In the order of the features, all of R records.
    """

    ndim: Final = 2
    dtype: Final = np.dtype(np.float32)
    __array__ = None  # NumPy would otherwise make an array of objects, or read the whole

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks: tuple[Block, ...] = tuple(blocks)
        lengths = {len(block.values if isinstance(block, DenseBlock) else block.row) for block in self.blocks}
        if len(lengths) != 1:
            raise InternalError(f"expected blocks of one length, got {sorted(lengths)}")
        (self._num_rows,) = lengths
        self._width = sum(block.width for block in self.blocks)

    @property
    def shape(self) -> tuple[int, int]:
        """R and F."""
        return self._num_rows, self._width

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        """``[n, F]`` float32, read now."""
        chosen = np.arange(self._num_rows, dtype=np.int64)[rows]
        found = np.empty((len(chosen), self._width), dtype=np.float32)
        start = 0
        for block in self.blocks:
            part = found[:, start : start + block.width]
            if isinstance(block, DenseBlock):
                part[:] = block.values[chosen]
            else:
                _read(block, chosen, part)
            start += block.width
        return found

    def column(self, index: int) -> NDArray[np.float32]:
        """``[R]`` one feature of a tabular variable.

        Raises:
            InternalError: If it belongs to an array.
        """
        start = 0
        for block in self.blocks:
            if start <= index < start + block.width and isinstance(block, DenseBlock):
                return block.values[:, index - start]
            start += block.width
        raise InternalError("expected a feature of a tabular variable, got one of an array")


def joined(parts: Sequence[StreamedRows]) -> StreamedRows:
    """The records of several sites one after the other; nothing is read."""
    return StreamedRows([_joined([part.blocks[place] for part in parts]) for place in range(len(parts[0].blocks))])


def _joined(blocks: Sequence[Block]) -> Block:
    dense = [block.values for block in blocks if isinstance(block, DenseBlock)]
    if dense:
        return DenseBlock(np.concatenate(dense))
    arrays = [block for block in blocks if isinstance(block, ArrayBlock)]
    starts = np.cumsum([0, *(len(block.files) for block in arrays)])
    return replace(
        arrays[0],
        files=tuple(stored for block in arrays for stored in block.files),
        file=np.concatenate([block.file + start for block, start in zip(arrays, starts, strict=False)]),
        row=np.concatenate([block.row for block in arrays]),
    )


def _read(block: ArrayBlock, chosen: IndexArray, into: NDArray[np.float32]) -> None:
    files, rows = block.file[chosen], block.row[chosen]
    for number in np.unique(files):
        wanted = np.flatnonzero(files == number)
        into[wanted] = encode_array(block.variable, block.files[int(number)].take(rows[wanted]))
