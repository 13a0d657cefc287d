"""Everything that a ledger's file promises, checked from its first byte: for the privacy officer and the auditor.

Opening a ledger checks the chain, the states and the sums. This also recomputes every charge from its events, verifies
every signature, holds every step against the cap, and has SQLite check its own pages.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.documents import Document
from federation.errors import LedgerDamagedError, PrivacyRefusedError
from federation.privacy.accounting import cost_of_all
from site_client.ledger.chain import LedgerState
from site_client.ledger.entries import GENESIS, Entry, HeadSigned, Reserved, Row, damaged, encode
from site_client.ledger.store import Store

_TOLERANCE: Final = 10**9
"""A charge may be one part in so many below what this machine computes: another mathematics library made it."""


class VerificationReport(Document):
    """What was checked and what was found first."""

    ledger: str
    intact: bool
    entries: int
    """Entries that hold, from the first."""
    signatures: int
    """Signed heads among them, all genuine."""
    entry_hash: str
    """Of the last entry that holds; to be compared with a head that somebody else kept."""
    epsilon_spent: float
    first_bad_entry: int | None
    """Sequence number, or ``None`` if no entry is bad, or the file is damaged as a whole."""
    problem: str | None


def verify_ledger(path: Path) -> VerificationReport:
    """Verify a ledger file, in whatever condition it is. Its signing key is not needed.

    Raises:
        InvalidInputError: If there is no file, or it was made for another grid of orders.
        StudyError: If it cannot be read now.
    """
    try:
        store = Store(path)
    except LedgerDamagedError as failure:
        return _report(path, _Sound(), failure)
    sound = _Sound()
    with contextlib.closing(store):
        try:
            _check_all(store, sound)
        except LedgerDamagedError as failure:
            return _report(path, sound, failure)
    return _report(path, sound, None)


@dataclass
class _Sound:
    """The part of the ledger that holds."""

    entries: int = 0
    signatures: int = 0
    entry_hash: bytes = GENESIS
    epsilon_spent: float = 0.0


def _check_all(store: Store, sound: _Sound) -> None:
    state = LedgerState()
    for row in store.rows():
        entry = state.apply(row)
        _check(row, entry, state)
        sound.entries, sound.entry_hash = row.sequence, row.entry_hash
        sound.signatures += isinstance(entry, HeadSigned)
        if isinstance(entry, Reserved):
            sound.epsilon_spent = state.first().terms.cap().spent(state.spent)
    state.first()
    store.check_pages()


def _check(row: Row, entry: Entry, state: LedgerState) -> None:
    """What the replay does not check, because it takes longer or because only an intruder could have done it."""
    if encode(entry) != row.body:
        raise damaged(row.sequence, "its body is not written in the one way that an entry is")
    if isinstance(entry, HeadSigned) and not entry.head.is_genuine():
        raise damaged(row.sequence, "the signature of the head is not genuine")
    if isinstance(entry, Reserved):
        _check_charge(row.sequence, entry)
        if state.first().terms.is_passed_by(entry.spent_after):
            raise damaged(row.sequence, "the cap is passed")


def _check_charge(sequence: int, entry: Reserved) -> None:
    try:
        due = cost_of_all(entry.events)
    except PrivacyRefusedError as failure:
        raise damaged(sequence, failure.message) from failure
    if any(charged < cost - max(1, cost // _TOLERANCE) for charged, cost in zip(entry.charge, due, strict=True)):
        raise damaged(sequence, "it was charged less than its events cost")


def _report(path: Path, sound: _Sound, failure: LedgerDamagedError | None) -> VerificationReport:
    entry = failure.facts.get("entry") if failure else None
    return VerificationReport(
        ledger=str(path),
        intact=failure is None,
        entries=sound.entries,
        signatures=sound.signatures,
        entry_hash=sound.entry_hash.hex(),
        epsilon_spent=sound.epsilon_spent,
        first_bad_entry=entry if isinstance(entry, int) else None,
        problem=failure.message if failure else None,
    )
