"""A store: what an import of images or signals leaves at the site, and the only thing that studies read of them.

::

    <folder>/store.json     what is in the files, how it was made, and their checksums
    <folder>/records.csv    one line a record: the columns of the site's own table, and a row number for every array
    <folder>/<array>.npy    the arrays, all of one shape

An array's cell in ``records.csv`` is the row in its file; empty: there was none; ``-1``: there was one that could not be read;
``-2``: too many of its values lie outside the contract's range. A store is written once and never changed: ``store.json`` comes
last, so a folder without it is what an interrupted import left.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.durable_files import read_whole, sync_folder, write_durably
from federation.errors import InvalidInputError, RecordsUnreadableError
from federation.identifiers import VariableName
from site_client.arrays.stored import StoredArray

STORE_FILE: Final = "store.json"
RECORDS_FILE: Final = "records.csv"
UNREADABLE: Final = -1
IMPLAUSIBLE: Final = -2
_LARGEST: Final = 16 * 2**20


class StoredFile(Document):
    """One array variable of a store."""

    name: VariableName
    """Also the name of its column in ``records.csv``; the file is ``<name>.npy``."""
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=4)]
    dtype: Literal["float32", "uint16", "int16", "uint8"]
    rows: Annotated[int, Field(ge=0)]
    unit: str
    step: float = 1.0
    """A value in ``unit`` is ``stored * step + start``."""
    start: float = 0.0
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    done: tuple[str, ...] = ()
    """What was done to every array, in words and in order: rescaled, windowed, resized, resampled."""
    not_used: dict[str, int] = Field(default_factory=dict)
    """Reason to number of records whose array is not in the file."""


class StoreDescription(Document):
    """``store.json``."""

    format: Literal["cohortium/store/1"] = "cohortium/store/1"
    made_by: str
    """The command, or what else made it, in words."""
    generated: bool = False
    """Whether the arrays belong to nobody."""
    records: Annotated[int, Field(ge=0)]
    records_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    arrays: Annotated[tuple[StoredFile, ...], Field(min_length=1)]

    def array(self, name: str) -> StoredFile | None:
        """The array of that name."""
        return next((entry for entry in self.arrays if entry.name == name), None)


class ArrayWriter:
    """Writes arrays of one shape to a ``.npy`` file, one after another, without holding them.

    Args:
        path: The file; written under another name until :meth:`close`.
        shape: Of one array.
        dtype: Of the file.
    """

    def __init__(self, path: Path, *, shape: tuple[int, ...], dtype: str) -> None:
        self._path, self._shape, self._dtype = path, shape, np.dtype(dtype)
        self._temporary = path.with_name(f".{path.name}.part")
        self._stream = self._temporary.open("wb+")
        self._header(0)
        self.rows = 0

    def append(self, values: NDArray[Any]) -> int:
        """Add one array; returns its row.

        Raises:
            InvalidInputError: If its shape is another.
        """
        if values.shape != self._shape:
            raise InvalidInputError(f"expected an array of shape {self._shape}, got {values.shape}")
        self._stream.write(np.ascontiguousarray(values, dtype=self._dtype).tobytes())
        self.rows += 1
        return self.rows - 1

    def close(self) -> str:
        """Finish the file durably; returns its SHA-256."""
        self._stream.seek(0)
        self._header(self.rows)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.seek(0)
        digest = hashlib.file_digest(self._stream, "sha256").hexdigest()
        self._stream.close()
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)
        return digest

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._stream.close()
        self._temporary.unlink(missing_ok=True)

    def _header(self, rows: int) -> None:
        # NumPy leaves room in the header for a first axis that grows.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._stream, header)


def write_store(
    folder: Path, *, table: Mapping[str, Sequence[str]], arrays: Sequence[StoredFile], made_by: str, generated: bool
) -> StoreDescription:
    """Write ``records.csv`` and then ``store.json`` beside the finished array files.

    Args:
        folder: Of the store.
        table: Column to its texts, all of one length: the site's own columns, and each array's cells.
        arrays: The finished files.
        made_by: In words.
        generated: Whether the arrays belong to nobody.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    content = text.getvalue().encode()
    write_durably(folder / RECORDS_FILE, content, secret=True)
    description = StoreDescription(
        made_by=made_by,
        generated=generated,
        records=len(next(iter(table.values()))),
        records_sha256=hashlib.sha256(content).hexdigest(),
        arrays=tuple(arrays),
    )
    write_durably(folder / STORE_FILE, (description.model_dump_json(indent=1) + "\n").encode(), secret=True)
    return description


def read_store(folder: Path, *, site: str) -> StoreDescription:
    """Read a store's description, and check that its table is the one that was imported.

    Raises:
        RecordsUnreadableError: If there is no store, or it was changed.
    """
    try:
        description = StoreDescription.from_json(
            read_whole(folder / STORE_FILE, largest=_LARGEST), error=RecordsUnreadableError
        )
        with (folder / RECORDS_FILE).open("rb") as stream:
            same = hashlib.file_digest(stream, "sha256").hexdigest() == description.records_sha256
    except OSError as failure:
        raise RecordsUnreadableError(
            f"expected a store of imported arrays at {folder}, got {type(failure).__name__}",
            site=site,
            remedy="import the images or signals first; a folder without store.json is what an interrupted import left",
        ) from failure
    if not same:
        raise RecordsUnreadableError(
            f"expected the table that was imported in {folder}, got another",
            site=site,
            remedy="import again into a new folder; files of a store are never changed",
        )
    return description


def stored_array(folder: Path, entry: StoredFile) -> StoredArray:
    """Where an array's file is, not looked at yet: call ``checked`` before use."""
    return StoredArray(
        path=folder / f"{entry.name}.npy",
        shape=entry.shape,
        dtype=entry.dtype,
        rows=entry.rows,
        step=entry.step,
        start=entry.start,
        sha256=entry.sha256,
    )
