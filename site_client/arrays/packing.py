"""Streamed rows in a file of patients: row numbers and where the arrays are, never the arrays again.

A site's file of encoded patients so stays small, and a study reads the arrays from the store that they were imported into. The
store's checksum is looked at whenever such a file is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.data.arrays import Image, Mask, Signal
from federation.documents import Document
from federation.errors import RecordsUnreadableError
from site_client.arrays.stored import StoredArray
from site_client.arrays.streamed import ArrayBlock, Block, DenseBlock, StreamedRows


class PackedFile(Document):
    """A :class:`~site_client.arrays.stored.StoredArray` as data."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    rows: int
    step: float
    start: float
    sha256: str


class PackedBlock(Document):
    """A block: ``None`` for tabular features."""

    variable: Annotated[Image | Signal | Mask, Field(discriminator="kind")] | None = None
    files: tuple[PackedFile, ...] = ()


class PackedRows(Document):
    """What is needed beside the arrays of numbers to read rows again."""

    blocks: tuple[PackedBlock, ...]


def pack(rows: StreamedRows, *, name: str) -> tuple[dict[str, NDArray[Any]], PackedRows]:
    """Numbers and description of streamed rows.

    Args:
        rows: What to write down.
        name: Before the names of the arrays of numbers.
    """
    numbers: dict[str, NDArray[Any]] = {}
    blocks: list[PackedBlock] = []
    for place, block in enumerate(rows.blocks):
        if isinstance(block, DenseBlock):
            numbers[f"{name}/{place}/values"] = np.ascontiguousarray(block.values)
            blocks.append(PackedBlock())
        else:
            numbers[f"{name}/{place}/file"] = np.ascontiguousarray(block.file)
            numbers[f"{name}/{place}/row"] = np.ascontiguousarray(block.row)
            blocks.append(PackedBlock(variable=block.variable, files=tuple(map(_packed, block.files))))
    return numbers, PackedRows(blocks=tuple(blocks))


def unpack(numbers: Mapping[str, NDArray[Any]], packed: PackedRows, *, name: str, site: str) -> StreamedRows:
    """Rows from :func:`pack`.

    Raises:
        RecordsUnreadableError: If a stored file is not there or was changed.
    """
    blocks: list[Block] = []
    known: dict[PackedFile, StoredArray] = {}
    for place, block in enumerate(packed.blocks):
        if block.variable is None:
            blocks.append(DenseBlock(numbers[f"{name}/{place}/values"]))
            continue
        for entry in block.files:
            known[entry] = known.get(entry) or _unpacked(entry, site)
        files = tuple(known[entry] for entry in block.files)
        blocks.append(
            ArrayBlock(block.variable, files, numbers[f"{name}/{place}/file"], numbers[f"{name}/{place}/row"])
        )
    return StreamedRows(blocks)


def packed_rows(data: object) -> PackedRows:
    """The description out of a file's header.

    Raises:
        RecordsUnreadableError: If it is none.
    """
    return PackedRows.from_data(data, error=RecordsUnreadableError)


def _packed(stored: StoredArray) -> PackedFile:
    return PackedFile(
        path=str(stored.path.absolute()),
        shape=stored.shape,
        dtype=stored.dtype,
        rows=stored.rows,
        step=stored.step,
        start=stored.start,
        sha256=stored.sha256,
    )


def _unpacked(entry: PackedFile, site: str) -> StoredArray:
    return StoredArray(
        path=Path(entry.path),
        shape=entry.shape,
        dtype=entry.dtype,
        rows=entry.rows,
        step=entry.step,
        start=entry.start,
        sha256=entry.sha256,
    ).checked(site=site)
