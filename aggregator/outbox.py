"""Results on their way to a tracker: an append-only list in one SQLite file that survives a crash at any moment.

An event is committed (write-ahead log, ``synchronous=FULL``) before :meth:`Outbox.add` returns, and is marked as delivered
only after the tracker took it, per target. Every operation opens and closes the file, so that a study's process and the process
that delivers can use it together, and neither is hurt if the other is killed.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.outbox_database import OutboxDatabase
from aggregator.run_records import KeptArtefact, RunRecord
from aggregator.tracking import TrackingTarget
from federation.durable_files import write_durably
from federation.errors import CheckpointError, InvalidInputError

OUTBOX_FILE: Final = "outbox.sqlite"
_TARGET: Final = "target"


def utc_now() -> dt.datetime:
    """The clock."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Event:
    """A record, when it was made (milliseconds since 1970, UTC) and its place in the order."""

    number: int
    key: str
    recorded_ms: int
    record: RunRecord


@dataclass(frozen=True)
class Attempt:
    """The last try to deliver to a target.

    Args:
        number: The newest event that existed when it began; 0 if there was none.
        time: ISO 8601, UTC; empty if nothing was tried yet.
        failure: Why it did not succeed; empty if it did.
    """

    number: int = 0
    time: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Counts:
    """Events of an outbox, with respect to one target: ``recorded = delivered + refused + waiting``."""

    recorded: int
    delivered: int
    refused: int

    @property
    def waiting(self) -> int:
        """Neither taken nor refused."""
        return self.recorded - self.delivered - self.refused


class Outbox:
    """The events of one run.

    Args:
        folder: Holds ``outbox.sqlite`` and copies of artefacts.
        create: Make it if absent.
        now: The clock.

    Raises:
        CheckpointError: If the file is absent (without ``create``), damaged, or something else.
    """

    def __init__(self, folder: Path, *, create: bool = False, now: Callable[[], dt.datetime] = utc_now) -> None:
        self.folder = folder
        self._now = now
        self._database = OutboxDatabase(folder / OUTBOX_FILE, create=create)

    # -- what the study writes --

    def begin(self, study: str) -> str:
        """Tie the outbox to a study's manifest; on a restart, check that it is the same.

        Args:
            study: Digest of the manifest.

        Returns:
            The run key: part of the digest and a random name, chosen once.

        Raises:
            CheckpointError: If the outbox belongs to another study.
        """
        fresh = f"{study.removeprefix('sha256:')[:16]}-{uuid.uuid4().hex}"
        with self._database.session() as database:
            database.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", [("study", study), ("run_key", fresh)])
            facts = dict(database.execute("SELECT name, value FROM facts").fetchall())
        if facts["study"] != study:
            raise CheckpointError(
                f"expected the tracking outbox in {self.folder} to be of study {study}, it is of {facts['study']}",
                remedy="choose another output folder",
            )
        return facts["run_key"]

    def fact(self, name: str) -> str:
        """A fact about the run, such as ``study``, ``run_key`` or ``status``; empty if it is not known."""
        with self._database.session() as database:
            row = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def note_fact(self, name: str, value: str) -> None:
        """Set a fact about the run."""
        with self._database.session() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    @property
    def target(self) -> TrackingTarget | None:
        """Where events go; ``None`` before the first start."""
        text = self.fact(_TARGET)
        return TrackingTarget.from_json(text, error=CheckpointError) if text else None

    def note_target(self, target: TrackingTarget) -> None:
        """Set where events go from now on."""
        self.note_fact(_TARGET, target.model_dump_json())

    def add(self, key: str, record: RunRecord) -> bool:
        """Append an event durably.

        Returns:
            False if an event with this key is there already; it then stays as it is.
        """
        return self.add_all({key: record}) == 1

    def add_all(self, records: Mapping[str, RunRecord]) -> int:
        """Append events durably, all or none, in their order.

        Args:
            records: By key.

        Returns:
            How many were new. An event whose key is there already stays as it is.
        """
        moment = int(self._now().timestamp() * 1000)
        rows = [(key, moment, record.model_dump_json(exclude_defaults=True)) for key, record in records.items()]
        with self._database.session() as database:
            return database.executemany(
                "INSERT OR IGNORE INTO events (key, recorded_ms, record) VALUES (?, ?, ?)", rows
            ).rowcount

    def keep(self, path: Path, *, folder: str) -> KeptArtefact:
        """Keep a copy of a file, so that what is delivered later is what was recorded.

        Raises:
            InvalidInputError: If there is no such file.
        """
        if not path.is_file():
            raise InvalidInputError(f"expected a file to attach to the run, got {path}")
        content = path.read_bytes()
        artefact = KeptArtefact(name=path.name, folder=folder, sha256=hashlib.sha256(content).hexdigest())
        if not self.copy_of(artefact).is_file():
            write_durably(self.copy_of(artefact), content)
        return artefact

    def copy_of(self, artefact: KeptArtefact) -> Path:
        """Where the copy of an artefact is."""
        return self.folder / "artefacts" / artefact.sha256 / artefact.name

    # -- what delivery reads and marks --

    @contextmanager
    def delivering(self) -> Generator[bool]:
        """Whether this process may deliver: one at a time, and a killed one lets go."""
        with (self.folder / "delivery.lock").open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def pending(self, target: TrackingTarget, *, limit: int) -> list[Event]:
        """The oldest events that wait for ``target``, in order."""
        with self._database.session() as database:
            rows = database.execute(
                "SELECT number, key, recorded_ms, record FROM events WHERE number NOT IN "
                "(SELECT number FROM deliveries WHERE target = ?) ORDER BY number LIMIT ?",
                (target.identity, limit),
            ).fetchall()
        return [Event(row[0], row[1], row[2], RunRecord.from_json(row[3], error=CheckpointError)) for row in rows]

    def mark(self, events: Iterable[Event], target: TrackingTarget, *, refused: str = "") -> None:
        """Note that ``target`` took the events, or why it refuses them for good."""
        rows = [(target.identity, event.number, refused) for event in events]
        with self._database.session() as database:
            database.executemany("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?)", rows)

    def forget(self, target: TrackingTarget, *, only_refused: bool) -> None:
        """Let events wait for ``target`` again: the refused ones, or all of them because the target was emptied."""
        with self._database.session() as database:
            condition = " AND refused != ''" if only_refused else ""
            database.execute(f"DELETE FROM deliveries WHERE target = ?{condition}", (target.identity,))  # noqa: S608 - constants
            if not only_refused:
                database.execute("DELETE FROM runs WHERE target = ?", (target.identity,))

    def counts(self, target: TrackingTarget) -> Counts:
        """How many events were recorded, delivered and refused."""
        with self._database.session() as database:
            (recorded,) = database.execute("SELECT COUNT(*) FROM events").fetchone()
            delivered, refused = database.execute(
                "SELECT COUNT(*) FILTER (WHERE refused = ''), COUNT(*) FILTER (WHERE refused != '') "
                "FROM deliveries WHERE target = ?",
                (target.identity,),
            ).fetchone()
        return Counts(recorded=recorded, delivered=delivered, refused=refused)

    def refusals(self, target: TrackingTarget) -> dict[str, str]:
        """Event keys that ``target`` refused, and why."""
        with self._database.session() as database:
            return dict(
                database.execute(
                    "SELECT key, refused FROM events JOIN deliveries USING (number) "
                    "WHERE target = ? AND refused != '' ORDER BY number",
                    (target.identity,),
                ).fetchall()
            )

    def run_of(self, target: TrackingTarget, key: str) -> str | None:
        """The target's own name of the run with this key, if it was noted."""
        with self._database.session() as database:
            row = database.execute(
                "SELECT run FROM runs WHERE (target, key) = (?, ?)", (target.identity, key)
            ).fetchone()
        return row[0] if row else None

    def note_run(self, target: TrackingTarget, key: str, run: str) -> None:
        """Remember the target's name of a run."""
        with self._database.session() as database:
            database.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (target.identity, key, run))

    def newest(self) -> int:
        """Number of the newest event; 0 if there is none."""
        with self._database.session() as database:
            return database.execute("SELECT COALESCE(MAX(number), 0) FROM events").fetchone()[0]

    def note_attempt(self, target: TrackingTarget, *, number: int, failure: str) -> None:
        """Note how the last try went; ``number`` is :meth:`newest` when it began."""
        row = (target.identity, number, self._now().isoformat(timespec="seconds"), failure)
        with self._database.session() as database:
            database.execute("INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?)", row)

    def last_attempt(self, target: TrackingTarget) -> Attempt:
        """How the last try went."""
        with self._database.session() as database:
            row = database.execute(
                "SELECT number, time, failure FROM attempts WHERE target = ?", (target.identity,)
            ).fetchone()
        return Attempt(*row) if row else Attempt()
