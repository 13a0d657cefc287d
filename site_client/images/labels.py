"""The table that says which patient a file is of: the site's own export, one line a record."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from federation.durable_files import read_whole
from federation.errors import MappingError, RecordsUnreadableError

_LARGEST: Final = 256 * 2**20


def read_labels(path: Path, *, delimiter: str) -> dict[str, list[str]]:
    """Columns of a table with a header line, as texts.

    Raises:
        RecordsUnreadableError: If it cannot be read, a line has another number of cells, or columns share a name.
    """
    try:
        content = read_whole(path, largest=_LARGEST)
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise RecordsUnreadableError(
            f"expected a table in UTF-8 at {path}, got {type(failure).__name__}",
            remedy="check path, permissions and quotes of the table",
        ) from failure
    rows = [row for row in rows if row]
    if len(content) > _LARGEST or len(rows) < 2:  # noqa: PLR2004 - a header and a record
        raise RecordsUnreadableError(
            f"expected a header and records in {path}, at most {_LARGEST >> 20} MiB, got others"
        )
    names, records = rows[0], rows[1:]
    bad = [line for line, row in enumerate(records, start=2) if len(row) != len(names)]
    if bad or len(set(names)) != len(names):
        raise RecordsUnreadableError(
            f"expected {len(names)} cells in every line and distinct column names in {path}, got "
            + (f"another number in {len(bad)} lines, first in line {bad[0]}" if bad else "a name twice"),
            remedy="give the table's delimiter with --delimiter, or export it again",
        )
    return {name: [row[place] for row in records] for place, name in enumerate(names)}


def file_columns(table: Mapping[str, object], wanted: tuple[str, ...], given: Mapping[str, str]) -> dict[str, str]:
    """Array variable to the column that names its files.

    Args:
        table: By column.
        wanted: Image and mask variables of the contract.
        given: As on the command line; a variable that is not there has a column of its own name.

    Raises:
        MappingError: If a column is not there, or is meant for two.
    """
    columns = {name: given.get(name, name) for name in wanted}
    absent = [f"{name} ({column})" for name, column in columns.items() if column not in table]
    unknown = sorted(set(given) - set(wanted))
    if absent or unknown or len(set(columns.values())) != len(columns):
        raise MappingError(
            f"expected a column of file names for each of {list(wanted)}, got none for {absent or unknown or list(wanted)}",
            remedy=f"name it with --column variable=column; the table has {sorted(table)}",
        )
    taken = [name for name, column in columns.items() if name != column and name in table]
    if taken:
        raise MappingError(
            f"expected no column of the table with the name of an image, got {taken}",
            remedy="rename these columns: the store uses the names for its own row numbers",
        )
    return columns
