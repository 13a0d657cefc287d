"""The one home of DuckDB: a private in-memory database that reads one site's table and can reach nothing else.

DuckDB quotes rows in its messages. Every statement goes through :class:`Database`, which keeps the kind of a failure and
at most a line number, and drops the message, so that no patient value travels in an error or its traceback.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import duckdb
import numpy as np
from numpy.typing import NDArray

from federation.errors import MappingError, RecordsError, RecordsUnreadableError

BATCH_ROWS: Final = 20_000
"""Rows that are handed over at once: bounds the memory of a stream, whatever the size of the source."""

_Answer = TypeVar("_Answer")
_QUERY_FAILURES: Final = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.ParserException,
    duckdb.PermissionException,
)
"""What a query of the mapping may cause; our own statements do not."""

_LINE = re.compile(r"CSV Error on Line: (\d+)")
_WIDTH = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")


@dataclass(frozen=True)
class Resources:
    """What reading may use of the site's machine.

    Args:
        memory_limit: DuckDB's own, such as ``1GB``; what does not fit is spilled.
        threads: Worker threads.
        temporary_folder: Where to spill; ``None``: the system's. A private folder is made there, and removed.
    """

    memory_limit: str = "1GB"
    threads: int = 1
    temporary_folder: Path | None = None


def literal(text: str) -> str:
    """Text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class Database:
    """A private in-memory database of one site. Made by :func:`open_database`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, site: str) -> None:
        self._connection = connection
        self._site = site

    def run(self, sql: str) -> None:
        """Run a statement.

        Raises:
            RecordsUnreadableError: It failed, whatever the reason.
        """
        self._safely(lambda: self._connection.execute(sql))

    def arrays(self, sql: str) -> Mapping[str, NDArray[Any]]:
        """The result of a query, column by column.

        Raises:
            RecordsUnreadableError: It failed, whatever the reason.
        """
        arrays = self._safely(lambda: self._connection.execute(sql).fetchnumpy())
        return cast(
            "Mapping[str, NDArray[Any]]", arrays
        )  # no query of ours asks for an ENUM, which would be categorical

    def numbers(self, sql: str) -> list[int]:
        """The one row of a query that counts.

        Raises:
            RecordsUnreadableError: It failed, whatever the reason.
        """
        row = self._safely(lambda: self._connection.execute(sql).fetchone())
        return [int(value or 0) for value in row or ()]

    def columns(self, relation: str) -> tuple[str, ...]:
        """Column names of a table or view."""
        rows = self._safely(lambda: self._connection.execute(f"DESCRIBE {identifier(relation)}").fetchall())
        return tuple(str(row[0]) for row in rows)

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
        """Stream rows into a new table of text columns, :data:`BATCH_ROWS` at a time.

        Raises:
            RecordsUnreadableError: The table cannot be made.
        """
        definition = ", ".join(f"{identifier(column)} VARCHAR" for column in columns)
        self.run(f"CREATE TEMP TABLE {identifier(table)} ({definition})")
        batch: list[Sequence[str | None]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                self._insert(table, batch)
                batch = []
        if batch:
            self._insert(table, batch)

    def _insert(self, table: str, batch: Sequence[Sequence[str | None]]) -> None:
        arrays = {f"c{index}": np.array(column, dtype=object) for index, column in enumerate(zip(*batch, strict=True))}
        self._safely(lambda: self._connection.register("batch", arrays))
        self.run(f"INSERT INTO {identifier(table)} SELECT * FROM batch")  # noqa: S608 - an identifier, quoted
        self._safely(lambda: self._connection.unregister("batch"))

    def select_statement(self, query: str) -> str:
        """The text of a query, if it is one SELECT and nothing else.

        Raises:
            MappingError: It is several statements, another kind, or not SQL.
        """
        try:
            statements = self._connection.extract_statements(query)
        except duckdb.Error:
            statements = []
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise MappingError(
                "expected `query` to be one SELECT statement, got something else",
                site=self._site,
                remedy="write a single SELECT (or WITH ... SELECT) over the table `source`",
            )
        return statements[0].query.strip().rstrip(";")

    def check_date_format(self, pattern: str) -> None:
        """Check a pattern such as ``%d.%m.%Y``.

        Raises:
            MappingError: DuckDB does not know it.
        """
        try:
            known = bool(self._connection.execute("SELECT try_strptime('', ?) IS NULL", [pattern]).fetchone())
        except duckdb.Error:
            known = False
        if not known:
            raise MappingError(
                f"expected a date format such as '%d.%m.%Y', got {pattern!r}",
                site=self._site,
                remedy="correct index_date.format or source.date_format in the mapping",
            )

    def seal(self, *readable: Path) -> None:
        """From here on, reach no file but these, no network and no extension, and change no setting."""
        paths = ", ".join(literal(str(path)) for path in readable)
        self.run(f"SET allowed_paths = [{paths}]")
        self.run("SET enable_external_access = false")
        self.run("SET lock_configuration = true")

    def _safely(self, action: Callable[[], _Answer]) -> _Answer:
        try:
            return action()
        except (duckdb.Error, RuntimeError, ValueError) as failure:
            error = self._explain(failure)
        # Raised outside the handler: DuckDB's message, which may quote a row, is not even kept as the context.
        raise error

    def _explain(self, failure: Exception) -> RecordsError:
        text = str(failure)
        line, width = _LINE.search(text), _WIDTH.search(text)
        where = f" at line {line[1]}" if line else ""
        if isinstance(failure, duckdb.OutOfMemoryException):
            got, remedy = "too little memory", "raise memory_limit, or free space for temporary files"
        elif "utf-8 encoded" in text or "unicode" in text.lower():
            got = f"bytes of another encoding{where}"
            remedy = "set source.encoding in the mapping, such as latin-1 or cp1252"
        elif width:
            got = f"{width[2]} instead of {width[1]} columns{where}"
            remedy = "check delimiter and quotes of that line, and source.delimiter in the mapping"
        elif isinstance(failure, duckdb.IOException):
            got, remedy = f"a damaged or incomplete file{where}", "copy the file again and compare its size"
        elif isinstance(failure, _QUERY_FAILURES):
            got = f"SQL that does not fit the table ({type(failure).__name__})"
            remedy = "run `query` of the mapping in the DuckDB shell at the site to see the details"
        else:
            got = f"something else ({type(failure).__name__}){where}"
            remedy = "check source.kind in the mapping, quotes and line ends of the file, and whether it is complete"
        return RecordsUnreadableError(f"expected a readable table, got {got}", site=self._site, remedy=remedy)


@contextlib.contextmanager
def open_database(resources: Resources, *, site: str) -> Generator[Database]:
    """A database that lives as long as the block; what it spilled is removed afterwards."""
    # mkdtemp gives permissions to the owner only.
    spill = tempfile.mkdtemp(prefix="cohortium-", dir=resources.temporary_folder)
    try:
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": resources.threads,
                "memory_limit": resources.memory_limit,
                "temp_directory": spill,
                # Never ask the network for an extension, not even when a function's name suggests one.
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        try:
            yield Database(connection, site=site)
        finally:
            connection.close()
    finally:
        shutil.rmtree(spill, ignore_errors=True)
