"""One array a record, in one ``.npy`` file on the site's disk: rows are read when they are asked for, and let go afterwards.

Axis names: N rows of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import RecordsUnreadableError

IndexArray = NDArray[np.int64]

DTYPES: Final = ("float32", "uint16", "int16", "uint8")
"""What a store may hold."""
_CHUNK: Final = 1 << 22


@dataclass(frozen=True)
class StoredArray:
    """A ``.npy`` file of N arrays of one shape. A value is ``stored * step + start``, in the contract's unit.

    Args:
        path: The file.
        shape: Of one record.
        dtype: One of :data:`DTYPES`.
        rows: N.
        step: Public scale.
        start: Public origin.
        sha256: Of the whole file, hexadecimal.
        offset: Bytes of the file's header; found by :meth:`checked`.
    """

    path: Path = field(repr=False)
    shape: tuple[int, ...]
    dtype: str
    rows: int
    step: float
    start: float
    sha256: str
    offset: int = 0

    def checked(self, *, site: str) -> StoredArray:
        """The same, after a look at the whole file.

        Raises:
            RecordsUnreadableError: If the file is not the one that was imported.
        """
        try:
            with self.path.open("rb") as stream:
                header = _header(stream.read(64 * 1024))
            same = _sha256(self.path) == self.sha256
        except (OSError, ValueError, EOFError) as failure:
            raise self._damaged(site, f"got {type(failure).__name__}") from failure
        wanted = ((self.rows, *self.shape), np.dtype(self.dtype))
        if header[1:] != wanted or not same:
            raise self._damaged(site, "got another")
        return replace(self, offset=header[0])

    def take(self, rows: IndexArray) -> NDArray[np.float32]:
        """``[n, *shape]`` in the contract's unit. The file is mapped for this call only, so that memory does not grow."""
        if not len(rows):
            return np.zeros((0, *self.shape), dtype=np.float32)
        mapped = np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=(self.rows, *self.shape))
        values = mapped[rows].astype(np.float32)
        if self.step != 1.0:
            values *= np.float32(self.step)
        if self.start != 0.0:
            values += np.float32(self.start)
        return values

    def _damaged(self, site: str, got: str) -> RecordsUnreadableError:
        return RecordsUnreadableError(
            f"expected the arrays that were imported, {self.rows} of shape {self.shape} in {self.dtype}, {got}",
            site=site,
            remedy="import them again into a new folder; files of a store are never changed",
        )


def _header(start: bytes) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    """Length, shape and type of a ``.npy`` file, without any of its values."""
    import io

    stream = io.BytesIO(start)
    if np.lib.format.read_magic(stream) != (1, 0):
        message = "expected version 1.0 of the format"
        raise ValueError(message)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=10_000)
    if fortran or dtype.hasobject:
        message = "expected plain numbers in C order"
        raise ValueError(message)
    return stream.tell(), tuple(shape), dtype


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
