"""An audit log on disk: one file to which every process of an installation adds entries, one writer at a time.

An entry counts when it is on the disk. A crash while one is written leaves a beginning of it after the last newline, which
nobody was told of: the next writer takes it away and says so in an entry.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from federation.durable_files import AppendOnlyFile, read_lines
from federation.errors import AuditLogDamagedError, InvalidInputError, StudyError
from federation.governance.audit import (
    LONGEST_LINE,
    AuditChain,
    AuditEntry,
    AuditEvent,
    damaged,
    line_of,
    unfinished,
)
from federation.protocol.audit_head import MOST_LINKS, AuditHead
from federation.protocol.signatures import SigningKey

_OVERWRITTEN: Final = "something was written where its line ends"

Clock = Callable[[], dt.datetime]


class AuditLog:
    """An open audit log. Safe in several threads and processes.

    Args:
        path: The file; a log that is not there is begun.
        log: Name of the log: the site, or ``coordinator``.
        key: Signs its heads.
        clock: For the times of entries.

    Raises:
        AuditLogDamagedError: If its chain does not hold, or it is another log.
        StudyError: If it cannot be read or written.
    """

    def __init__(self, path: Path, *, log: str, key: SigningKey, clock: Clock) -> None:
        self._path, self._log, self._key, self._clock = path, log, key, clock
        self._mutex = threading.RLock()
        self._chain = AuditChain()
        self._length = 0
        with self._disk():
            self._file = AppendOnlyFile(path)
        try:
            with self.writing() as chain:
                self._begin(chain)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, chain: AuditChain) -> None:
        key = self._key.public_key
        if chain.sequence == 0:
            self._add(AuditEvent(event="log_opened", actor="cohortium", site=self._log, hashes={"public_key": key}))
        if (chain.log, chain.public_key) != (self._log, key):
            raise damaged(1, f"it is the log of {chain.log}, by key {chain.public_key[:16]}…")

    @contextlib.contextmanager
    def writing(self) -> Generator[AuditChain]:
        """The chain with everything that anybody added, while every other writer is kept out. Nothing may change the chain."""
        with self._mutex, self._disk(), self._file.alone():
            if not self._file.is_in_place():
                raise StudyError(
                    f"expected the audit log {self._path} to stay in place, it was moved, replaced or deleted",
                    remedy="put the file back and start this process again",
                )
            self._catch_up()
            yield self._chain

    def record(self, *events: AuditEvent) -> tuple[AuditEntry, ...]:
        """Add entries; they are on the disk when this returns.

        Raises:
            StudyError: If the disk does not take them: what was to be done must not be done. The log goes on from the old end.
            AuditLogDamagedError: If the log was changed meanwhile, or an event cannot stand there.
        """
        with self.writing():
            return self._add(*events)

    def head(self, *, since: int | None = None) -> AuditHead:
        """The head, signed, with links from entry ``since`` on; not farther from it than links may reach."""
        with self.writing() as chain:
            end = chain.sequence if since is None else min(chain.sequence, since + MOST_LINKS)
            return AuditHead.signed(
                self._key,
                log=chain.log,
                sequence=end,
                entry_hash=chain.hash_at(end) or "",
                since=since,
                links=() if since is None else chain.links(since, end),
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, *events: AuditEvent) -> tuple[AuditEntry, ...]:
        """Take the entries as a later reader would, write them, and forget them again if the disk refuses them."""
        time = self._clock().astimezone(dt.UTC).isoformat(timespec="seconds")
        before, content, entries = self._chain.mark(), b"", list[AuditEntry]()
        try:
            for number, event in enumerate(events, start=before.sequence + 1):
                line = line_of(AuditEntry(**dict(event), sequence=number, time=time), self._chain.entry_hash)
                entries.append(self._chain.take(line))
                content += line
            self._file.append(content, at=self._length)
        except BaseException:
            self._chain.return_to(before)
            raise
        self._length += len(content)
        return tuple(entries)

    def _catch_up(self) -> None:
        size = self._file.size()
        if size == self._length:
            return
        if size < self._length:
            raise damaged(self._chain.sequence, "the file became shorter while it was in use")
        *lines, tail = self._file.read_from(self._length).split(b"\n")
        for line in lines:
            self._chain.take(line + b"\n")
            self._length += len(line) + 1
        if tail:
            self._repair(tail)

    def _repair(self, tail: bytes) -> None:
        match unfinished(tail, is_next=self._chain.can_take):
            case "complete":
                self._file.append(b"\n", at=self._length + len(tail))
                self._chain.take(tail + b"\n")
                self._length += len(tail) + 1
            case "torn":
                self._file.cut(self._length)
                if self._chain.sequence:
                    dropped = {"dropped": hashlib.sha256(tail).hexdigest()}
                    self._add(AuditEvent(event="log_repaired", actor="cohortium", hashes=dropped))
            case "damaged":
                raise damaged(self._chain.sequence + 1, _OVERWRITTEN)

    @contextlib.contextmanager
    def _disk(self) -> Generator[None]:
        try:
            yield
        except OSError as failure:
            raise StudyError(
                f"expected to write the audit log {self._path}, got: {failure.strerror or type(failure).__name__}",
                remedy="mend the disk, its space or its permissions; what could not be recorded was not done",
            ) from failure


@dataclass(frozen=True)
class ReadLog:
    """What was found in a file.

    Attributes:
        chain: Up to the first bad entry.
        entries: The same.
        problem: The error that names the first bad entry; ``None`` if there is none.
        torn: The last line is a beginning of an entry, as a crash leaves it, or as another process is writing it now.
    """

    chain: AuditChain
    entries: tuple[AuditEntry, ...]
    problem: AuditLogDamagedError | None = None
    torn: bool = False


def read_log(path: Path) -> ReadLog:
    """Read a log and change nothing.

    Raises:
        InvalidInputError: If there is no file that can be read.
    """
    chain, entries = AuditChain(), list[AuditEntry]()
    try:
        for line in read_lines(path, longest=LONGEST_LINE):
            if line.endswith(b"\n") or len(line) == LONGEST_LINE:
                entries.append(chain.take(line))
                continue
            match unfinished(line, is_next=chain.can_take):
                case "complete":
                    entries.append(chain.take(line + b"\n"))
                case "torn":
                    return ReadLog(chain, tuple(entries), torn=True)
                case "damaged":
                    raise damaged(chain.sequence + 1, _OVERWRITTEN)
    except AuditLogDamagedError as failure:
        return ReadLog(chain, tuple(entries), problem=failure)
    except OSError as failure:
        raise InvalidInputError(
            f"expected an audit log at {path}, got: {failure.strerror or type(failure).__name__}",
            remedy="give the path of an audit.jsonl",
        ) from failure
    return ReadLog(chain, tuple(entries))
