"""PostgreSQL, streamed through SQLAlchemy in a read-only transaction with a cursor on the server.

DuckDB reads PostgreSQL through an extension that it would have to download; a hospital's record side has no network. The
address is a secret: it comes from the environment variable that the mapping names, and is in no message.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from federation.errors import MappingError, MissingDependencyError, RecordsError, RecordsUnreadableError
from site_client.sources.database import BATCH_ROWS, identifier
from site_client.sources.mapping import PostgresqlSource
from site_client.sources.sqlite import as_texts

if TYPE_CHECKING:
    from sqlalchemy import Connection


def postgresql_columns(source: PostgresqlSource, *, site: str) -> tuple[str, ...]:
    """Column names of the table or query.

    Raises:
        RecordsUnreadableError: The database does not answer, or not to this table.
        MappingError: The environment variable is not set.
        MissingDependencyError: The extra ``postgresql`` is not installed.
    """
    with _connection(source, site=site) as connection:
        result = connection.exec_driver_sql(f"SELECT * FROM {_relation(source)} AS source LIMIT 0")  # noqa: S608 - the site's own
        return tuple(result.keys())


def postgresql_rows(
    source: PostgresqlSource, columns: Sequence[str], *, site: str
) -> Generator[tuple[str | None, ...]]:
    """The rows of the table or query as text, :data:`BATCH_ROWS` at a time.

    Raises:
        RecordsError: See :func:`postgresql_columns`.
    """
    names = ", ".join(identifier(column) for column in columns)
    with _connection(source, site=site) as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS)
        result = streaming.exec_driver_sql(f"SELECT {names} FROM {_relation(source)} AS source")  # noqa: S608 - the site's own
        for batch in result.partitions(BATCH_ROWS):
            for row in batch:
                yield as_texts(tuple(row))


def _relation(source: PostgresqlSource) -> str:
    if source.query is not None:
        query = source.query.strip().rstrip(";")
        return f"({query}\n)"
    return ".".join(identifier(part) for part in (source.table or "").split("."))


@contextmanager
def _connection(source: PostgresqlSource, *, site: str) -> Generator[Connection]:
    address = _address(source, site=site)
    try:
        from sqlalchemy import create_engine, exc
        from sqlalchemy.pool import NullPool
    except ImportError as failure:
        raise _missing_driver() from failure
    error: RecordsError | MissingDependencyError | None = None
    try:
        engine = create_engine(address, poolclass=NullPool)
        with engine.connect().execution_options(no_parameters=True) as connection:  # a % in a query is a %
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield connection
    except ImportError:
        error = _missing_driver()
    except (exc.SQLAlchemyError, ValueError) as failure:
        cause = type(getattr(failure, "orig", None) or failure).__name__
        error = RecordsUnreadableError(
            f"expected the PostgreSQL database of {source.dsn_environment_variable} to answer, got {cause}",
            site=site,
            remedy="check address, account, table and columns with psql at the site",
        )
    if error is not None:
        # Raised outside the handler: the driver's message may hold the address or a row.
        raise error


def _address(source: PostgresqlSource, *, site: str) -> str:
    address = os.environ.get(source.dsn_environment_variable, "")
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.split("+")[0] not in {"postgresql", "postgres"}:
        raise MappingError(
            f"expected the environment variable {source.dsn_environment_variable} to hold postgresql://..., got "
            + ("another address" if address else "nothing"),
            site=site,
            remedy="set it for the agent's process; do not write the address into the mapping",
        )
    return f"postgresql+psycopg://{rest}"


def _missing_driver() -> MissingDependencyError:
    return MissingDependencyError(
        "expected SQLAlchemy and psycopg for a PostgreSQL source, got no such package",
        remedy='pip install "cohortium[site,postgresql]"',
    )
