"""An audit log for an auditor: verified, exported as one signed file, and compared with the export of another party."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from federation.documents import Document
from federation.durable_files import read_lines
from federation.errors import InvalidInputError, SignatureRefusedError
from federation.governance.audit import AuditChain, AuditEntry, Time, damaged, line_of
from federation.governance.audit_log import read_log
from federation.governance.signed import Signature, check_signature, sign_document
from federation.protocol.audit_head import AuditHead
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.signatures import SigningKey

LARGEST_EXPORT: Final = 2**28
"""Bytes."""
_PURPOSE: Final = "audit-export"


class AuditVerification(Document):
    """What ``audit verify`` finds."""

    log: str
    intact: bool
    entries: Annotated[int, Field(ge=0)]
    """Entries that hold; the first bad one is the next."""
    entry_hash: Hexadecimal
    """Of the last entry that holds."""
    public_key: str
    countersigned: dict[str, int] = Field(default_factory=dict)
    """By the key of the other: the last entry of this log that it countersigned."""
    witnessed: dict[str, int] = Field(default_factory=dict)
    """By log: the last entry of it that this log has witnessed."""
    unfinished: bool = False
    """The last line is a beginning: a crash while it was written. It was never acknowledged."""
    problem: str = ""

    def lines(self) -> tuple[str, ...]:
        """The findings in words, the verdict first."""
        said = [
            f"the log of {self.log or 'nobody'} {'holds' if self.intact else 'is DAMAGED'}: {self.entries} entries are good",
            f"last good entry: {self.entry_hash}",
            f"key of its heads: {self.public_key}",
        ]
        if self.problem:
            said.insert(1, f"first bad entry: {self.entries + 1}: {self.problem}")
        if self.unfinished:
            said.append("the last line is unfinished: a crash while it was written; the next entry will take it away")
        said += [
            f"countersigned by key {key[:16]}…: up to entry {number}" for key, number in self.countersigned.items()
        ]
        said += [f"has witnessed the log of {name}: up to entry {number}" for name, number in self.witnessed.items()]
        return tuple(said)

    def check(self) -> None:
        """Raise if the log is not intact.

        Raises:
            AuditLogDamagedError: Naming the first bad entry.
        """
        if not self.intact:
            raise damaged(self.entries + 1, self.problem)


class AuditExport(Document):
    """All entries of a log and its head. Heads of others and countersignatures are in the entries."""

    format: Literal["cohortium/audit-export/1"] = "cohortium/audit-export/1"
    exported: Time
    head: AuditHead
    entries: tuple[AuditEntry, ...]


class SignedExport(Document):
    """An export with the signature of the log's own key."""

    export: AuditExport
    signature: Signature


def verify_log(
    path: Path, *, log: str | None = None, public_key: str | None = None, against: Iterable[AuditHead] = ()
) -> AuditVerification:
    """Check a log file: every entry, the signatures in it, and that it holds what others have seen of it.

    Args:
        path: The file. It is not changed.
        log: Name that it must have.
        public_key: Key that it must have. Without, the key is what the log says it is.
        against: Genuine heads of this log that others kept.

    Raises:
        InvalidInputError: If there is no file.
    """
    read = read_log(path)
    problem = str(read.problem.facts["problem"]) if read.problem else ""
    entries = read.chain.sequence
    for expected, found in ((log, read.chain.log), (public_key, read.chain.public_key)):
        if entries and expected is not None and found != expected:
            problem, entries = f"expected the log of {expected}, it is that of {found}", 0
    if not entries and not problem:
        problem = "the log is empty"
    ours = sorted((head for head in against if head.log == read.chain.log), key=lambda head: head.sequence)
    missing = [head.sequence for head in ours if not read.chain.contains(head)]
    if missing and min(missing) <= entries:
        entries = max((head.sequence for head in ours if head.sequence < min(missing)), default=0)
        problem = f"an entry up to {min(missing)} is another than was witnessed"
    elif missing and not problem:
        problem = f"missing, others have witnessed {max(missing)} entries"
    return AuditVerification(
        log=read.chain.log,
        intact=not problem,
        entries=entries,
        entry_hash=read.chain.hash_at(entries) or read.chain.entry_hash,
        public_key=read.chain.public_key,
        countersigned={key: seen.head.sequence for key, seen in read.chain.countersigned.items()},
        witnessed={name: head.sequence for name, head in read.chain.witnessed.items()},
        unfinished=read.torn,
        problem=problem,
    )


def export_log(path: Path, *, key: SigningKey, now: dt.datetime) -> SignedExport:
    """A log as one document.

    Raises:
        AuditLogDamagedError: If it is not intact, or the key is not its own.
    """
    verify_log(path, public_key=key.public_key).check()
    read = read_log(path)
    chain = read.chain
    head = AuditHead.signed(key, log=chain.log, sequence=chain.sequence, entry_hash=chain.entry_hash)
    export = AuditExport(exported=now.astimezone(dt.UTC).isoformat(timespec="seconds"), head=head, entries=read.entries)
    return SignedExport(export=export, signature=sign_document(export, key, purpose=_PURPOSE))


def read_export(path: Path) -> tuple[SignedExport, AuditChain]:
    """Read an export and check it: signatures, chain, and that it ends where its head says.

    Raises:
        InvalidInputError: If it is no export.
        SignatureRefusedError: If its signature does not hold.
        AuditLogDamagedError: If an entry does not hold.
    """
    try:
        content = next(read_lines(path, longest=LARGEST_EXPORT), b"")
    except OSError as failure:
        raise InvalidInputError(
            f"expected an exported audit log at {path}, got: {failure.strerror}", remedy="check the path"
        ) from failure
    signed = SignedExport.from_json(content, error=InvalidInputError)
    head = signed.export.head
    check_signature(
        signed.export, signed.signature, purpose=_PURPOSE, public_key=head.public_key, signer=f"the log of {head.log}"
    )
    chain = AuditChain()
    for entry in signed.export.entries:
        chain.take(line_of(entry, chain.entry_hash))
    if not head.is_genuine() or not chain.contains(head) or head.sequence != chain.sequence:
        raise damaged(chain.sequence + 1, "the export does not end where its signed head says")
    return signed, chain


def heads_of(log: str, export: SignedExport) -> tuple[AuditHead, ...]:
    """Heads of a log that another party's export says it has witnessed, or in which it was shown."""
    found = [entry.head for entry in export.export.entries if entry.head is not None and entry.head.log == log]
    return (*found, export.export.head) if export.export.head.log == log else tuple(found)


def compare(path: Path, other: Path) -> AuditVerification:
    """Verify a log against what another party's export has witnessed of it.

    Raises:
        SignatureRefusedError: If the export witnessed nothing of this log: then the comparison says nothing.
        AuditLogDamagedError: If the export itself is damaged.
        InvalidInputError: If a file is missing.
    """
    signed, _ = read_export(other)
    log = read_log(path).chain.log
    heads = heads_of(log, signed)
    if not heads:
        raise SignatureRefusedError(
            f"expected an export that has witnessed the log of {log}, got one of {signed.export.head.log} that has not",
            remedy="ask for the export of a party that works with this one",
        )
    return verify_log(path, against=heads)
