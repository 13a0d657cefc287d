"""The file of a ledger: one SQLite database, and the only module that knows SQLite.

Every commit is on the disk when it returns (write-ahead log, ``synchronous=FULL``); triggers let rows be appended and
nothing else; ``BEGIN IMMEDIATE`` admits one writer at a time, over all processes. SQLite's errors become two of ours:
damage (the content is wrong) and :class:`StudyError` (full, locked, read-only or failing: mend it and go on).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

from federation.durable_files import sync_folder
from federation.errors import CohortiumError, InvalidInputError, LedgerDamagedError, StudyError
from site_client.ledger.entries import Row, damaged

_BUSY_SECONDS: Final = 60.0
_APPLICATION: Final = 0x436F686C  # "Cohl"
_FORMAT: Final = 1
_SCHEMA: Final = {
    "entries": "CREATE TABLE entries (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL CHECK (typeof(body) = 'blob'),"
    " entry_hash BLOB NOT NULL CHECK (typeof(entry_hash) = 'blob' AND length(entry_hash) = 32))",
    "entries_never_change": "CREATE TRIGGER entries_never_change BEFORE UPDATE ON entries"
    " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "entries_never_go": "CREATE TRIGGER entries_never_go BEFORE DELETE ON entries"
    " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    "entries_follow": "CREATE TRIGGER entries_follow BEFORE INSERT ON entries"
    " WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM entries)"
    " BEGIN SELECT RAISE(ABORT, 'entries have no gaps'); END",
}
# What each setting must read back as: a setting that SQLite ignored is a promise not kept.
_SETTINGS: Final[dict[str, tuple[str, object]]] = {
    "journal_mode": ("WAL", b"wal"),
    "synchronous": ("FULL", 2),
    "foreign_keys": ("ON", 1),
    "fullfsync": ("ON", 1),
    "trusted_schema": ("OFF", 0),
    "cell_size_check": ("ON", 1),
}
_UNAVAILABLE: Final = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_MISUSE,
}  # fmt: skip


class Store:
    """An open ledger file.

    Args:
        path: The file, which must exist.

    Raises:
        InvalidInputError: If there is no such file.
        LedgerDamagedError: If it is not a ledger, or its tables or triggers are not the ledger's.
        StudyError: If it cannot be used now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not self.path.is_file():
            raise InvalidInputError(
                f"expected a ledger at {path}, got no such file", remedy="`cohortium site ledger create` makes one"
            )
        self._identity = _identity(self.path)
        with self._translated():
            self._connection = _connect(self.path, mode="rw")
            try:
                self._settle()
                self._configure()
                self._check_schema()
            except BaseException:
                self._connection.close()
                raise

    @staticmethod
    def create(path: Path, rows: Sequence[Row]) -> None:
        """Write a new ledger file: it appears whole, with its first rows, or not at all.

        Raises:
            FileExistsError: If the file appeared in the meantime.
            StudyError: If the folder cannot be written.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        with _translated(path), contextlib.ExitStack() as stack:
            for remains in _files(temporary):
                remains.unlink(missing_ok=True)
                stack.callback(remains.unlink, missing_ok=True)
            with contextlib.closing(_connect(temporary, mode="rwc")) as connection:
                # Kept in the file's header, so that two processes never switch at the same time.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
                for statement in _SCHEMA.values():
                    connection.execute(statement)
                connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
                connection.execute("COMMIT")
                # Closing would do this too, but not say that it failed; the log does not move with the file.
                if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() != (0, 0, 0):
                    raise _unavailable(path, "the log cannot be written back")
            os.link(temporary, path)
            sync_folder(path.parent)

    def rows(self, start: int = 1) -> Generator[Row]:
        """Rows from sequence number ``start`` on, in order: one consistent reading, whatever others append meanwhile.

        Raises:
            LedgerDamagedError: If the file is damaged, or another file has taken its place.
            StudyError: If it cannot be read now.
        """
        with self._translated():
            self._check_identity()
            cursor = self._connection.execute(
                "SELECT sequence, body, entry_hash FROM entries WHERE sequence >= ? ORDER BY sequence", (start,)
            )
            with contextlib.closing(cursor):
                for sequence, body, entry_hash in cursor:
                    if not (isinstance(body, bytes) and isinstance(entry_hash, bytes)):
                        raise damaged(sequence, "body and hash are not byte strings")
                    yield Row(sequence, body, entry_hash)

    def row(self, sequence: int) -> Row | None:
        """One row, or ``None`` if there are not so many."""
        with contextlib.closing(self.rows(sequence)) as found:
            first = next(found, None)
        return first if first and first.sequence == sequence else None

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """Keep every other writer out; commit at the end, durably, or nothing if an error is raised.

        Raises:
            StudyError: If the file is locked for long, full, read-only or failing. Nothing was written then.
        """
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # Some errors end the transaction by themselves; the error that is raised is the one to tell.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows inside a :meth:`transaction`."""
        with self._translated():
            self._connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)

    def check_pages(self) -> None:
        """Have SQLite check its own pages, those too that hold no entry: the next entry may go there.

        Raises:
            LedgerDamagedError: Saying what it finds first.
        """
        with self._translated():
            answers = [answer for (answer,) in self._connection.execute("PRAGMA integrity_check(1)")]
        if answers != [b"ok"]:
            raise _damaged(self.path, b" ".join(answers).decode(errors="replace"))

    def close(self) -> None:
        """Close the file. Whatever was committed is on the disk already."""
        self._connection.close()

    def _settle(self) -> None:
        # After a crash SQLite accepts commits that reached the log but perhaps not yet the disk. Whoever acts on
        # them must know that they stay: a reservation that a power cut takes back would be noise not paid for.
        log = self.path.with_name(self.path.name + "-wal")
        with contextlib.suppress(FileNotFoundError), log.open("rb") as stream:
            os.fsync(stream.fileno())
        sync_folder(self.path.parent)

    def _configure(self) -> None:
        for name, (value, expected) in _SETTINGS.items():
            self._connection.execute(f"PRAGMA {name} = {value}")
            (found,) = self._connection.execute(f"PRAGMA {name}").fetchone()
            if found != expected:
                raise StudyError(
                    f"expected SQLite to take {name} = {value} for {self.path}, got {found!r}",
                    remedy="keep the ledger on a local disk: network file systems do not keep its promises",
                )

    def _check_schema(self) -> None:
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        found = dict(self._connection.execute("SELECT name, sql FROM sqlite_master"))
        expected = {name.encode(): statement.encode() for name, statement in _SCHEMA.items()}
        if (application, version) != (_APPLICATION, _FORMAT) or found != expected:
            raise _damaged(self.path, "its tables and triggers are not those of a ledger")

    def _check_identity(self) -> None:
        if _identity(self.path) != self._identity:
            raise LedgerDamagedError(
                f"expected {self.path} to be the file that was opened, got another in its place",
                remedy="stop the agent, find out who replaced the ledger, and start the agent again",
            )

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        return _translated(self.path)


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,  # transactions are begun and ended by name, here and nowhere else
        check_same_thread=False,  # the ledger has a lock of its own
    )
    connection.text_factory = bytes  # damaged text must not fail to decode before it is compared
    return connection


def _files(path: Path) -> tuple[Path, ...]:
    return tuple(path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal"))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as failure:
        raise _as_our_own(failure, path) from failure
    except UnicodeDecodeError as failure:  # SQLite quotes a damaged name in its message, and Python cannot read it
        raise _damaged(path, "its names are not text") from failure
    except FileExistsError:
        raise
    except OSError as failure:
        raise _unavailable(path, failure.strerror or type(failure).__name__) from failure


def _as_our_own(failure: sqlite3.Error, path: Path) -> CohortiumError:
    code = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF  # the rest is a detail of the code
    if code in _UNAVAILABLE:
        return _unavailable(path, str(failure))
    return _damaged(path, str(failure))


def _damaged(path: Path, problem: str) -> LedgerDamagedError:
    return LedgerDamagedError(
        f"expected a ledger in {path}, got a damaged file: {problem}",
        remedy="release nothing; keep the file as evidence and see docs/ledger.md",
    )


def _unavailable(path: Path, reason: str) -> StudyError:
    return StudyError(
        f"expected to read and write the ledger {path}, got: {reason}",
        remedy="nothing was released and nothing is lost: mend the disk, its space or its permissions, then go on",
    )
