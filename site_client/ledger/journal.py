"""Entries in and out of an open ledger file: one writer, nothing acted on that is not committed.

Every reading and every decision first takes the entries that other processes appended. A decision is made and written
inside one transaction, and the state in memory follows after the commit only.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from federation.errors import CohortiumError, InternalError, LedgerDamagedError
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.signatures import SigningKey
from site_client.ledger.chain import LedgerState
from site_client.ledger.entries import Entry, HeadSigned, Reserved, Row, damaged, decode, following
from site_client.ledger.key_file import key_path, read_key
from site_client.ledger.store import Store

Clock = Callable[[], dt.datetime]


def time_of(clock: Clock) -> str:
    """The clock's time as entries have it: ISO 8601, in UTC, to the second."""
    return clock().astimezone(dt.UTC).isoformat(timespec="seconds")


class Journal:
    """An open ledger file with the state that its entries amount to. Safe in several threads.

    Args:
        path: The file, which must exist.
        clock: For the times of entries.

    Raises:
        InvalidInputError: If there is no such file.
        LedgerDamagedError: If its chain, its last signature, its tables or its key do not hold.
        StudyError: If it cannot be used now.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self.clock = clock
        self.state = LedgerState()
        self._mutex = threading.RLock()
        self._process = os.getpid()
        self._pending: list[Row] = []
        self.store = Store(path)
        try:
            self._catch_up()
            self.store.check_pages()
            self.opened = self.state.first()
            self._key = read_key(self.store.path)
            self._check_promises()
        except BaseException:
            self.store.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Generator[LedgerState]:
        """The state after every entry that anybody committed."""
        with self._alone():
            self._catch_up()
            yield self.state

    @contextlib.contextmanager
    def writing(self) -> Generator[LedgerState]:
        """The same, while every other writer is kept out; what is appended inside is committed at the end.

        The state shows what was appended only afterwards. An error inside leaves file and state as they were.
        """
        with self._alone():
            try:
                with self.store.transaction():
                    self._catch_up()
                    yield self.state
                for row in self._pending:
                    self.state.apply(row)
            finally:
                self._pending.clear()

    def append(self, entry: Entry) -> None:
        """Append an entry, and a signed head if one is due. Once, inside :meth:`writing`.

        Raises:
            LedgerDamagedError: If the signing key is not there.
        """
        self._signing_key()  # nothing is charged for what could not be recorded as computed
        row = following(self.state.sequence, self.state.entry_hash, entry)
        rows = [row]
        if self.state.needs_head(entry, row.sequence):
            signed = HeadSigned(at=time_of(self.clock), head=self._sign(row.sequence, row.entry_hash))
            rows.append(following(row.sequence, row.entry_hash, signed))
        self.store.append(rows)
        self._pending.extend(rows)

    def head(self) -> LedgerHead:
        """The last entry's sequence number and hash, signed.

        Raises:
            LedgerDamagedError: If the signing key is not there.
        """
        return self._sign(self.state.sequence, self.state.entry_hash)

    def reserved(self, sequence: int) -> Reserved:
        """The entry of a reservation."""
        row = self.store.row(sequence)
        entry = decode(row) if row else None
        if not isinstance(entry, Reserved):
            raise damaged(sequence, "a reservation was there before")
        return entry

    def _sign(self, sequence: int, entry_hash: bytes) -> LedgerHead:
        key, population = self._signing_key(), self.opened.terms.population
        return LedgerHead.signed(key, population=population, sequence=sequence, entry_hash=entry_hash.hex())

    def _signing_key(self) -> SigningKey:
        if self._key is None:
            raise LedgerDamagedError(
                f"expected the ledger's signing key in {key_path(self.store.path)}, got no such file",
                remedy="put the key of this ledger back; without it the ledger can be read and verified, nothing else",
            )
        return self._key

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        if os.getpid() != self._process:
            raise InternalError(
                "expected the ledger in the process that opened it, got a fork of it",
                remedy="open the ledger in each process: SQLite's locks do not survive a fork",
            )
        with self._mutex:
            try:
                yield
            except CohortiumError:
                raise  # raised where the state is whole
            except BaseException:
                self.state = LedgerState()  # whatever was half done: the next reading starts from the first entry
                raise

    def _catch_up(self) -> None:
        known = self.state.sequence
        with contextlib.closing(self.store.rows(max(known, 1))) as rows:
            last = next(rows, None) if known else None
            if known and (last is None or (last.sequence, last.entry_hash) != (known, self.state.entry_hash)):
                raise damaged(known, "it is not, or no longer, the entry that was there before")
            for row in rows:
                self.state.apply(row)

    def _check_promises(self) -> None:
        if self._key is not None and self._key.public_key != self.opened.public_key:
            raise LedgerDamagedError(
                f"expected in {key_path(self.store.path)} the key that this ledger was made with, got another",
                remedy="put the ledger's own key back; without it nothing can be released",
            )
        last = self.state.last_head
        if last is not None and not last.is_genuine():
            raise damaged(last.sequence + 1, "the signature of the head is not genuine")
        if self.opened.terms.is_passed_by(self.state.spent):
            raise damaged(self.state.sequence, "the cap is passed")
