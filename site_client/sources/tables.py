"""Records from tables: CSV, Parquet, SQLite and PostgreSQL, through one mapping and one converting query.

Only the columns that the contract needs are read, and no source is ever loaded as a whole: DuckDB streams files, drivers stream
databases in batches, and what does not fit into the memory limit is spilled to a private folder. In Python's memory are only
the converted numbers of the contract's variables and the patient keys.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from federation.data.contract import DataContract
from federation.errors import RecordsUnreadableError
from site_client.patients import Records
from site_client.sources.conversions import conversion_query
from site_client.sources.csv_files import column_names, decoded_rows, may_have_blanks, native_encoding, read_csv_sql
from site_client.sources.database import Database, Resources, literal, open_database
from site_client.sources.gathering import gather
from site_client.sources.mapping import (
    CsvSource,
    ParquetSource,
    PostgresqlSource,
    SiteMapping,
    SqliteSource,
    StoreSource,
)
from site_client.sources.source import Survey
from site_client.sources.stores import attach_arrays, store_table


class TableSource:
    """One table of one site, read through the site's mapping.

    Args:
        mapping: Columns, units and codes.
        folder: Paths of the mapping are relative to it: usually the folder of the mapping file.
        resources: What reading may use of the machine.
    """

    def __init__(self, mapping: SiteMapping, *, folder: Path, resources: Resources | None = None) -> None:
        self.mapping = mapping
        self.folder = folder
        self._resources = resources or Resources()

    def read(self, contract: DataContract, *, today: dt.date) -> Records:
        """Every record of the table.

        Raises:
            RecordsError: The first problem of :meth:`survey`.
        """
        found = self.survey(contract, today=today)
        for problem in found.problems:
            raise problem
        return found.records

    def survey(self, contract: DataContract, *, today: dt.date) -> Survey:
        """Every record of the table, and every problem in it.

        Args:
            contract: What the columns become.
            today: The day of extraction: later dates are in the future.

        Raises:
            MappingError: The mapping does not fit the contract, or a unit does not convert.
            RecordsUnreadableError: A file or database that cannot be read, or a column that is not there.
            CohortTooSmallError: An empty file.
        """
        mapping = self.mapping
        mapping.check_against(contract)
        query = conversion_query(mapping, contract, relation="mapped")
        with open_database(self._resources, site=mapping.site) as database:
            self._check_date_formats(database)
            self._register(database, contract)
            self._map(database, contract)
            if not self._may_have_blanks():
                query = conversion_query(mapping, contract, relation="mapped", has_blanks=False)
            database.run(f"CREATE TEMP TABLE converted AS {query}")
            found = gather(database, mapping, contract, today=today)
        return attach_arrays(found, mapping, contract, folder=self.folder)

    def _check_date_formats(self, database: Database) -> None:
        formats = [self.mapping.index_date.format if self.mapping.index_date else None]
        formats += [self.mapping.source.date_format if isinstance(self.mapping.source, CsvSource) else None]
        for pattern in formats:
            if pattern is not None:
                database.check_date_format(pattern)

    def _register(self, database: Database, contract: DataContract) -> None:
        """Make the site's table known as ``source``, then close every other door."""
        mapping, source = self.mapping, self.mapping.source
        # A query may use any column; without one, the contract says which are needed.
        wanted = None if mapping.query is not None else mapping.columns(contract)
        match source:
            case CsvSource():
                self._register_csv(database, source, wanted)
            case StoreSource():
                self._register_csv(database, store_table(source, self.folder, site=mapping.site), wanted)
            case ParquetSource():
                path = self._file(source.path)
                database.seal(path)
                database.run(f"CREATE TEMP VIEW source AS SELECT * FROM read_parquet({literal(str(path))})")  # noqa: S608 - quoted
            case SqliteSource():
                # Imported here: most sites need neither driver.
                from site_client.sources.sqlite import sqlite_columns, sqlite_rows

                path = self._file(source.path)
                columns = self._needed(sqlite_columns(path, source.table, site=mapping.site), wanted)
                database.load("source", columns, sqlite_rows(path, source.table, columns, site=mapping.site))
                database.seal()
            case PostgresqlSource():
                from site_client.sources.postgresql import postgresql_columns, postgresql_rows

                columns = self._needed(postgresql_columns(source, site=mapping.site), wanted)
                database.load("source", columns, postgresql_rows(source, columns, site=mapping.site))
                database.seal()

    def _register_csv(self, database: Database, source: CsvSource, wanted: Sequence[str] | None) -> None:
        path = self._file(source.path)
        names = column_names(source, path, wanted, site=self.mapping.site)
        encoding = native_encoding(source)
        if encoding is not None:
            database.seal(path)
            database.run(f"CREATE TEMP VIEW source AS {read_csv_sql(source, path, names, encoding=encoding)}")
            return
        needed = names if wanted is None else tuple(wanted)
        positions = [names.index(name) for name in needed]
        rows: Iterator[list[str | None]] = decoded_rows(source, path, len(names), site=self.mapping.site)
        database.load("source", needed, ([row[position] for position in positions] for row in rows))
        database.seal()

    def _may_have_blanks(self) -> bool:
        source = self.mapping.source
        if self.mapping.query is not None or not isinstance(source, CsvSource):
            return True
        return may_have_blanks(source, self._file(source.path))

    def _map(self, database: Database, contract: DataContract) -> None:
        """Make ``source``, or the result of the mapping's query over it, known as ``mapped``."""
        query = self.mapping.query
        select = "SELECT * FROM source" if query is None else database.select_statement(query)
        database.run(f"CREATE TEMP VIEW mapped AS {select}")
        self._needed(database.columns("mapped"), self.mapping.columns(contract))

    def _needed(self, present: tuple[str, ...], wanted: Sequence[str] | None) -> tuple[str, ...]:
        if wanted is None:
            return present
        absent = [name for name in wanted if name not in present]
        if absent:
            raise RecordsUnreadableError(
                f"expected the columns {absent}, got {list(present)}",
                site=self.mapping.site,
                remedy="correct `column` of these in the mapping; upper and lower case matter",
            )
        return tuple(wanted)

    def _file(self, name: str) -> Path:
        path = (self.folder / name).absolute()
        if not path.is_file():
            raise RecordsUnreadableError(
                f"expected a file at {path}, got {'a folder' if path.is_dir() else 'nothing'}",
                site=self.mapping.site,
                remedy="correct source.path in the mapping (it is relative to the folder of the mapping file)",
            )
        if any(character in str(path) for character in "*?[]"):
            raise RecordsUnreadableError(
                f"expected a path without any of *?[], got {path}",
                site=self.mapping.site,
                remedy="rename the file or folder: these characters mean a pattern",
            )
        return path
