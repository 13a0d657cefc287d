"""SQLite files, streamed row by row with Python's own driver.

DuckDB reads SQLite through an extension that it would have to download; a hospital's record side has no network.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from federation.errors import RecordsUnreadableError
from site_client.sources.database import BATCH_ROWS, identifier


def sqlite_columns(path: Path, table: str, *, site: str) -> tuple[str, ...]:
    """Column names of a table or view.

    Raises:
        RecordsUnreadableError: Not a SQLite file, or no such table.
    """
    rows = list(_rows(path, f"SELECT name FROM pragma_table_info({_quoted(table)})", site=site))  # noqa: S608 - quoted
    if not rows:
        raise RecordsUnreadableError(
            f"expected a table {table!r} in {path.name}, got none",
            site=site,
            remedy="correct source.table in the mapping",
        )
    return tuple(str(row[0]) for row in rows)


def sqlite_rows(path: Path, table: str, columns: Iterable[str], *, site: str) -> Generator[tuple[str | None, ...]]:
    """The rows of a table or view as text.

    Raises:
        RecordsUnreadableError: The file is damaged or locked.
    """
    names = ", ".join(identifier(column) for column in columns)
    for row in _rows(path, f"SELECT {names} FROM {identifier(table)}", site=site):  # noqa: S608 - identifiers, quoted
        yield as_texts(row)


def as_texts(row: Sequence[object]) -> tuple[str | None, ...]:
    """A row as DuckDB would write it: no value stays a number, so that exact decimals stay exact."""
    return tuple(value if isinstance(value, str) or value is None else _text(value) for value in row)


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            return value.decode("utf-8", errors="replace")
        case _:
            return str(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rows(path: Path, sql: str, *, site: str) -> Generator[tuple[object, ...]]:
    problem = ""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            cursor = connection.execute(sql)
            while batch := cursor.fetchmany(BATCH_ROWS):
                yield from batch
    except (sqlite3.Error, OverflowError) as failure:
        problem = type(failure).__name__
    if problem:
        raise RecordsUnreadableError(
            f"expected a readable SQLite file at {path.name}, got {problem}",
            site=site,
            remedy="check that the file is a complete SQLite database, that nobody locks it, and the names in the mapping",
        )
