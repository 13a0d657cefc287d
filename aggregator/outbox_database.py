"""The outbox's SQLite file: opened for one operation at a time, checked, and never trusted to be what it should be."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from federation.errors import CheckpointError

_APPLICATION: Final = 0x436F686F  # "Coho": marks the file as ours
_FORMAT: Final = 1
_PATIENCE: Final = 30.0  # seconds to wait for another process's transaction; each lasts milliseconds
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    recorded_ms INTEGER NOT NULL,
    record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    target TEXT NOT NULL, number INTEGER NOT NULL, refused TEXT NOT NULL, PRIMARY KEY (target, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    target TEXT NOT NULL, key TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (target, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    target TEXT PRIMARY KEY, number INTEGER NOT NULL, time TEXT NOT NULL, failure TEXT NOT NULL
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
COMMIT;
"""


class OutboxDatabase:
    """One SQLite file.

    Args:
        path: The file.
        create: Make it if absent.

    Raises:
        CheckpointError: If it is absent (without ``create``), damaged, or something else.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self._path = path
        is_there = path.is_file()
        if not is_there and not create:
            raise CheckpointError(
                f"expected a tracking outbox at {path}, there is none",
                remedy="give the output folder of a run that was tracked",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.session() as database:
            if is_there:
                self._check(database)
            else:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(_SCHEMA)

    @contextmanager
    def session(self) -> Generator[sqlite3.Connection]:
        """A connection for one transaction, committed durably at the end.

        Raises:
            CheckpointError: If SQLite cannot use the file.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as database:
                database.execute("PRAGMA synchronous = FULL")
                with database:
                    yield database
        except sqlite3.OperationalError as failure:
            raise CheckpointError(
                f"cannot use the tracking outbox {self._path}: {failure}",
                remedy="check that the folder is writable and has space left, then resume",
            ) from failure
        except sqlite3.DatabaseError as failure:
            raise self._damaged(str(failure)) from failure

    def _check(self, database: sqlite3.Connection) -> None:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if (application, version) == (0, 0) and not database.execute("SELECT 1 FROM sqlite_schema").fetchone():
            database.executescript(_SCHEMA)  # a crash between making the file and filling it
        elif application != _APPLICATION:
            raise self._damaged("a database of another program")
        elif version != _FORMAT:
            raise self._damaged(f"format {version}, this version of Cohortium writes {_FORMAT}")
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self._damaged("its pages contradict each other")

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"expected a tracking outbox at {self._path}, got something unreadable ({what})",
            remedy="restore the file from a copy, or move it away: a resumed study then records every round anew, "
            "from its checkpoints, as another run",
        )
