"""The authority's register: one SQLite file, in which rows are added and never changed.

The one exception is an invitation, which is used up once: ``UPDATE ... WHERE used IS NULL ... RETURNING`` in the transaction
that also writes the admission. Of a token only the SHA-256 is kept.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from federation.durable_files import sync_folder
from federation.errors import InvalidInputError, StudyError

_APPLICATION: Final = 0x436F6865  # "Cohe": marks the file as ours
_FORMAT: Final = 1
_BUSY_SECONDS: Final = 60.0
_NEVER: Final = "BEGIN SELECT RAISE(ABORT, 'the register is append-only'); END"
_SCHEMA: Final = f"""
CREATE TABLE invitations (
    number INTEGER PRIMARY KEY, token_digest TEXT NOT NULL UNIQUE, site TEXT NOT NULL, made TEXT NOT NULL,
    expires TEXT NOT NULL, used TEXT, outcome TEXT
);
CREATE TABLE admissions (
    number INTEGER PRIMARY KEY, site TEXT NOT NULL, kind TEXT NOT NULL, identity_key TEXT NOT NULL, node_key TEXT NOT NULL,
    tls_key TEXT NOT NULL, serial TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL UNIQUE, issued TEXT NOT NULL,
    expires TEXT NOT NULL, document TEXT NOT NULL
);
CREATE TABLE revocations (
    number INTEGER PRIMARY KEY, site TEXT NOT NULL, serial TEXT NOT NULL UNIQUE REFERENCES admissions (serial),
    since TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE aggregators (
    number INTEGER PRIMARY KEY, coordinator_key TEXT NOT NULL, gate TEXT NOT NULL, names TEXT NOT NULL,
    serial TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL UNIQUE, issued TEXT NOT NULL, expires TEXT NOT NULL
);
CREATE TRIGGER invitations_are_used_once BEFORE UPDATE ON invitations
    WHEN OLD.used IS NOT NULL OR NEW.used IS NULL OR NEW.token_digest IS NOT OLD.token_digest OR NEW.site IS NOT OLD.site
    OR NEW.expires IS NOT OLD.expires {_NEVER};
CREATE TRIGGER invitations_stay BEFORE DELETE ON invitations {_NEVER};
CREATE TRIGGER admissions_never_change BEFORE UPDATE ON admissions {_NEVER};
CREATE TRIGGER admissions_stay BEFORE DELETE ON admissions {_NEVER};
CREATE TRIGGER revocations_never_change BEFORE UPDATE ON revocations {_NEVER};
CREATE TRIGGER revocations_stay BEFORE DELETE ON revocations {_NEVER};
CREATE TRIGGER aggregators_never_change BEFORE UPDATE ON aggregators {_NEVER};
CREATE TRIGGER aggregators_stay BEFORE DELETE ON aggregators {_NEVER};
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
"""


@dataclass(frozen=True)
class Admitted:
    """A row of the table of admissions: one certificate of one site."""

    number: int
    site: str
    kind: Literal["enrolment", "renewal"]
    identity_key: str
    node_key: str
    tls_key: str
    """SHA-256 of the SubjectPublicKeyInfo."""
    serial: str
    fingerprint: str
    issued: dt.datetime
    expires: dt.datetime
    document: str
    """The signed admission, JSON: it can be handed out again."""


@dataclass(frozen=True)
class Revoked:
    """A row of the table of revocations."""

    number: int
    site: str
    serial: str
    since: dt.datetime


@dataclass(frozen=True)
class Gate:
    """The aggregator that sites are told of: the one certified last."""

    coordinator_key: str
    address: str


class Register:
    """An open register. Everything is done inside :meth:`transaction`.

    Args:
        path: The file.

    Raises:
        InvalidInputError: If there is no such file, or it is not a register.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise InvalidInputError(
                f"expected the authority's register at {path}, got no such file",
                remedy="name the authority's folder with --authority; `cohortium consortium init` makes one",
            )
        with self._translated():
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA foreign_keys = ON")
            self._database.execute("PRAGMA trusted_schema = OFF")
            marks = [
                self._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            ]
        if marks != [_APPLICATION, _FORMAT]:
            self._database.close()
            raise self._damaged("a database of another program or version")

    @staticmethod
    def create(path: Path) -> None:
        """Write an empty register, readable for its owner only."""
        path.touch(mode=0o600, exist_ok=False)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(_SCHEMA)
        sync_folder(path.parent)

    def close(self) -> None:
        """Close the file; what was committed is on the disk."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Keep every other writer out; commit durably at the end, or nothing if an error is raised.

        Raises:
            StudyError: If the file is locked for long, full, read-only or failing. Nothing was written then.
        """
        with self._translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def add_invitation(self, *, token_digest: str, site: str, now: dt.datetime, expires: dt.datetime) -> None:
        """Note an invitation. An older one of the site that was not used is withdrawn."""
        self.withdraw_invitations(site, now=now)
        self._database.execute(
            "INSERT INTO invitations (token_digest, site, made, expires) VALUES (?, ?, ?, ?)",
            (token_digest, site, _text(now), _text(expires)),
        )

    def withdraw_invitations(self, site: str, *, now: dt.datetime) -> int:
        """Make the site's open invitations useless.

        Returns:
            How many there were.
        """
        return self._database.execute(
            "UPDATE invitations SET used = ?, outcome = 'withdrawn' WHERE site = ? AND used IS NULL", (_text(now), site)
        ).rowcount

    def use_invitation(self, token_digest: str, *, now: dt.datetime) -> str | None:
        """Use an invitation up.

        Returns:
            The site it was for, or ``None`` if there is no such invitation that is unused and has not expired.
        """
        found = self._database.execute(
            "UPDATE invitations SET used = ?, outcome = 'admitted' WHERE token_digest = ? AND used IS NULL AND expires > ?"
            " RETURNING site",
            (_text(now), token_digest, _text(now)),
        ).fetchone()
        return None if found is None else str(found[0])

    def why_unusable(self, token_digest: str) -> str:
        """What became of an invitation that cannot be used: ``unknown``, ``admitted``, ``withdrawn`` or ``expired``."""
        found = self._database.execute(
            "SELECT outcome FROM invitations WHERE token_digest = ?", (token_digest,)
        ).fetchone()
        return "unknown" if found is None else str(found[0] or "expired")

    def add_admission(self, row: Admitted) -> None:
        """Note a certificate. Its ``number`` is given by the register."""
        self._database.execute(
            "INSERT INTO admissions (site, kind, identity_key, node_key, tls_key, serial, fingerprint, issued, expires,"
            " document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row.site, row.kind, row.identity_key, row.node_key, row.tls_key, row.serial, row.fingerprint,
             _text(row.issued), _text(row.expires), row.document),
        )  # fmt: skip

    def admissions(self) -> tuple[Admitted, ...]:
        """Every certificate of a site that was ever issued, oldest first."""
        rows = self._database.execute(
            "SELECT number, site, kind, identity_key, node_key, tls_key, serial, fingerprint, issued, expires, document"
            " FROM admissions ORDER BY number"
        )
        return tuple(Admitted(*row[:8], issued=_time(row[8]), expires=_time(row[9]), document=row[10]) for row in rows)

    def add_revocation(self, *, site: str, serial: str, now: dt.datetime, reason: str) -> None:
        """Note that a certificate is refused from now on."""
        self._database.execute(
            "INSERT INTO revocations (site, serial, since, reason) VALUES (?, ?, ?, ?)",
            (site, serial, _text(now), reason),
        )

    def revocations(self) -> tuple[Revoked, ...]:
        """Every revoked certificate, oldest first."""
        rows = self._database.execute("SELECT number, site, serial, since FROM revocations ORDER BY number")
        return tuple(Revoked(number, site, serial, _time(since)) for number, site, serial, since in rows)

    def add_aggregator(
        self,
        *,
        gate: Gate,
        names: tuple[str, ...],
        serial: str,
        fingerprint: str,
        now: dt.datetime,
        expires: dt.datetime,
    ) -> None:
        """Note a certificate of the gate."""
        self._database.execute(
            "INSERT INTO aggregators (coordinator_key, gate, names, serial, fingerprint, issued, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (gate.coordinator_key, gate.address, " ".join(names), serial, fingerprint, _text(now), _text(expires)),
        )

    def gate(self) -> Gate | None:
        """The aggregator certified last, if any."""
        found = self._database.execute(
            "SELECT coordinator_key, gate FROM aggregators ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return None if found is None else Gate(*found)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as failure:
            raise StudyError(
                f"expected to read and write the authority's register {self._path}, got: {failure}",
                remedy="nothing was changed: mend the disk, its space or its permissions, then repeat the command",
            ) from failure
        except sqlite3.DatabaseError as failure:
            raise self._damaged(str(failure)) from failure

    def _damaged(self, what: str) -> InvalidInputError:
        return InvalidInputError(
            f"expected the authority's register at {self._path}, got something unusable ({what})",
            remedy="keep the file as evidence and restore the newest copy of the authority's folder",
        )


def latest(rows: tuple[Admitted, ...], site: str) -> Admitted | None:
    """The newest certificate of a site, if it ever had one."""
    return next((row for row in reversed(rows) if row.site == site), None)


def _text(time: dt.datetime) -> str:
    # One zone and one width, so that times compare as text.
    return time.astimezone(dt.UTC).isoformat(timespec="microseconds")


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
