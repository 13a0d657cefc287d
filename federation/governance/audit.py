"""The audit log of a site or of the coordinator: what an entry may say, and the hash chain that holds the entries together.

An entry is one line of a text file. It names an event of a closed list, documents by their hashes, errors by the names of their
classes, and has no field for free text: a log can be given to an auditor as it is. Pure: lines in, findings out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, ValidationError

from federation.documents import Document
from federation.errors import AuditLogDamagedError, CohortiumError
from federation.protocol.audit_head import GENESIS, AuditHead, CounterSignature, LogName, chained
from federation.protocol.ledger_head import Hexadecimal

LONGEST_LINE: Final = 16_384
"""Bytes of an entry; a longer line is none."""

EventName = Literal[
    "log_opened", "log_repaired",
    "started", "stopped", "paused", "resumed",
    "enrolled", "renewed", "revoked", "policy_changed", "data_checked", "code_accepted",
    "proposal_signed", "proposal_imported", "approved", "declined", "withdrawn", "amended",
    "study_launched", "study_completed", "study_stopped", "study_closed",
    "request_sent", "request_accepted", "request_refused", "reply_accepted", "reply_refused", "released", "ledger_locked",
    "round_committed", "site_excluded",
    "head_witnessed", "head_countersigned",
    "model_released", "release_verified", "release_refused", "model_scored",
]  # fmt: skip

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Actor = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Reason = Annotated[str, Field(pattern=r"^[A-Za-z_]{1,64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]


class AuditEvent(Document):
    """What happened. Never a patient's data, never a number of patients."""

    event: EventName
    actor: Actor
    """Who did it: a process such as ``agent``, or the account name of a person."""
    study: Digest | None = None
    """Of the manifest or proposal."""
    round_number: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    site: LogName | None = None
    """Whom it concerns: the other party."""
    reason: Reason | None = None
    """Name of an error class."""
    hashes: Annotated[dict[Name, Hexadecimal], Field(max_length=16)] = Field(default_factory=dict)
    """SHA-256 of requests, replies, documents and files."""
    head: AuditHead | None = None
    """``head_witnessed``: of the other's log."""
    countersignature: CounterSignature | None = None
    """``head_countersigned``: the other's, on a head of this log."""


class AuditEntry(AuditEvent):
    """An event with its place in the log. ``time`` is that of the writer's clock, UTC; nothing is decided by it."""

    sequence: Annotated[int, Field(ge=1, lt=2**53)]
    time: Time

    def body_digest(self) -> str:
        """SHA-256 of the canonical body."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()


def reason_of(failure: BaseException) -> str:
    """What a log says of an error: its class if it is one of ours, and of another only that there was one."""
    return type(failure).__name__ if isinstance(failure, CohortiumError) else "InternalError"


def request_refused(
    failure: BaseException,
    *,
    actor: str,
    request: bytes,
    site: str,
    study: str | None = None,
    round_number: int | None = None,
) -> AuditEvent:
    """The entry of a request that is declined: hashes, and the name of an error class.

    Args:
        failure: Why. Its text goes nowhere.
        actor: Who declines.
        request: The bytes that came.
        site: From whom: a site, or ``coordinator``.
        study: Of the request, if that could be read.
        round_number: The same.
    """
    return AuditEvent(
        event="request_refused",
        actor=actor,
        study=study,
        round_number=round_number,
        site=site,
        reason=reason_of(failure),
        hashes={"request": hashlib.sha256(request).hexdigest()},
    )


def line_of(entry: AuditEntry, previous: str) -> bytes:
    """The line of an entry that follows the one with hash ``previous``. An entry has exactly one line."""
    entry_hash = chained(previous, entry.body_digest())
    return b'{"body":' + entry.canonical_bytes() + b',"hash":"' + entry_hash.encode() + b'"}\n'


class ChainMark(NamedTuple):
    """A place to which a chain can return."""

    sequence: int
    log: str
    public_key: str
    witnessed: dict[str, AuditHead]
    countersigned: dict[str, CounterSignature]


class AuditChain:
    """What the lines of a log amount to, taken one by one; a line that cannot follow is damage."""

    def __init__(self) -> None:
        self.log = ""
        self.public_key = ""
        self.witnessed: dict[str, AuditHead] = {}
        """Last head of each other log that this one has witnessed."""
        self.countersigned: dict[str, CounterSignature] = {}
        """By the key of the other: its last signature on a head of this log."""
        self._digests: list[str] = []
        self._hashes: list[str] = [GENESIS]

    @property
    def sequence(self) -> int:
        """Entries so far."""
        return len(self._digests)

    @property
    def entry_hash(self) -> str:
        """Hash of the last entry."""
        return self._hashes[-1]

    def hash_at(self, sequence: int) -> str | None:
        """Hash of that entry, or ``None`` if the log is not that long."""
        return self._hashes[sequence] if 0 <= sequence <= self.sequence else None

    def links(self, since: int, until: int) -> tuple[str, ...]:
        """Digests of the bodies of entries ``since + 1`` to ``until``."""
        return tuple(self._digests[since:until])

    def contains(self, head: AuditHead) -> bool:
        """Whether ``head`` is of this log as it is."""
        is_ours = (head.log, head.public_key) == (self.log, self.public_key)
        return is_ours and self.hash_at(head.sequence) == head.entry_hash

    def take(self, line: bytes) -> AuditEntry:
        """Take one more line; the chain is unchanged if it cannot follow.

        Args:
            line: With its newline.

        Raises:
            AuditLogDamagedError: Naming the entry.
        """
        number = self.sequence + 1
        entry = _read(line, number)
        if entry.sequence != number:
            raise damaged(number, f"missing, entry {entry.sequence} follows entry {self.sequence}")
        if line != line_of(entry, self.entry_hash):
            raise damaged(number, "its hash is not that of its body and the entry before, or its spelling is another")
        self._check_place(entry)
        self._remember(entry)
        digest = entry.body_digest()
        self._hashes.append(chained(self.entry_hash, digest))
        self._digests.append(digest)
        return entry

    def can_take(self, line: bytes) -> bool:
        """Whether that line can follow. Takes nothing."""
        before = self.mark()
        try:
            self.take(line)
        except AuditLogDamagedError:
            return False
        self.return_to(before)
        return True

    def mark(self) -> ChainMark:
        """Where the chain is now."""
        return ChainMark(self.sequence, self.log, self.public_key, dict(self.witnessed), dict(self.countersigned))

    def return_to(self, mark: ChainMark) -> None:
        """Forget what was taken since."""
        self.log, self.public_key = mark.log, mark.public_key
        self.witnessed, self.countersigned = dict(mark.witnessed), dict(mark.countersigned)
        del self._digests[mark.sequence :]
        del self._hashes[mark.sequence + 1 :]

    def _check_place(self, entry: AuditEntry) -> None:
        number, event = entry.sequence, entry.event
        if (event == "log_opened") != (number == 1):
            raise damaged(number, f"{event!r} cannot stand here, a log is opened first and once")
        if (event == "head_witnessed") != (entry.head is not None):
            raise damaged(number, f"{event!r} with or without a head where the other is due")
        if (event == "head_countersigned") != (entry.countersignature is not None):
            raise damaged(number, f"{event!r} with or without a countersignature where the other is due")
        if event == "log_opened" and not (entry.site and "public_key" in entry.hashes):
            raise damaged(number, "the name of the log or the key of its heads is missing")
        if entry.head is not None:
            self._check_witnessed(number, entry.head)
        if entry.countersignature is not None:
            self._check_countersigned(number, entry.countersignature)

    def _check_witnessed(self, number: int, head: AuditHead) -> None:
        last = self.witnessed.get(head.log)
        if head.since is not None:
            raise damaged(number, "a witnessed head is kept without its links")
        if not head.is_genuine():
            raise damaged(number, "the signature of the witnessed head does not hold")
        if last is not None and (head.public_key != last.public_key or head.sequence <= last.sequence):
            raise damaged(number, f"the log of {head.log} went back, or is another than before")

    def _check_countersigned(self, number: int, seen: CounterSignature) -> None:
        if not seen.is_genuine():
            raise damaged(number, "a countersignature does not hold")
        if not self.contains(seen.head):
            raise damaged(number, "what was countersigned is not a head of this log")

    def _remember(self, entry: AuditEntry) -> None:
        if entry.event == "log_opened":
            self.log, self.public_key = entry.site or "", entry.hashes["public_key"]
        if entry.head is not None:
            self.witnessed[entry.head.log] = entry.head
        if entry.countersignature is not None:
            self.countersigned[entry.countersignature.public_key] = entry.countersignature


def damaged(number: int, problem: str) -> AuditLogDamagedError:
    """The error that names the first bad entry."""
    return AuditLogDamagedError(
        f"expected an unbroken audit log, got entry {number}: {problem}",
        remedy="keep the file as evidence and change nothing in it; see docs/audit_log.md, 'When a log is damaged'",
        entry=number,
        problem=problem,
    )


def unfinished(tail: bytes, *, is_next: Callable[[bytes], bool]) -> Literal["complete", "torn", "damaged"]:
    """What text after the last newline is: an entry without its newline, a part of one, or an entry that was changed.

    A crash while an entry was written leaves a beginning of it. An entry followed by something that is not a newline is no
    such beginning.
    """
    if is_next(tail + b"\n"):
        return "complete"
    try:
        json.JSONDecoder().raw_decode(tail.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return "torn"
    return "damaged"


def _read(line: bytes, number: int) -> AuditEntry:
    if len(line) >= LONGEST_LINE:
        raise damaged(number, f"longer than {LONGEST_LINE} bytes")
    try:
        content = json.loads(line)
        body = content["body"]
        return AuditEntry.model_validate_json(json.dumps(body))
    except (ValueError, ValidationError, KeyError, TypeError, RecursionError) as failure:
        raise damaged(number, "its line is not that of an entry") from failure
