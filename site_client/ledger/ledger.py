"""The ledger of one patient population: reserve, compute, send; never more than the cap, never a refund.

Every release of every study about the same patients goes through one :class:`Ledger`:

1. :meth:`Ledger.reserve` charges the release, durably, before the first noise is drawn. A crash afterwards leaves the
   reservation: the release may be computed again, for the same request, and is not charged again.
2. :meth:`Ledger.computed` records the hash of what was computed. The bytes are on the disk by then, and from then on
   only those bytes may leave: a second computation would be a second look at the patients.
3. :meth:`Ledger.sent` records that they were handed over.

The file alone cannot show that it was set back to an earlier state, since that was a good state once. Others therefore
keep the last signed head they were given and show it to the ledger (:meth:`Ledger.witness`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Self

from federation.errors import InvalidInputError
from federation.privacy.accounting import Cost, add, cost_of_all
from federation.privacy.events import PrivacyEvent
from federation.privacy.rdp_curves import ORDERS
from federation.protocol.ledger_head import LedgerHead
from site_client.ledger import refusals
from site_client.ledger.chain import LedgerState, Reservation
from site_client.ledger.entries import GENESIS, Computed, Locked, Opened, Reserved, Row, Sent, following
from site_client.ledger.journal import Clock, Journal, time_of
from site_client.ledger.key_file import find_or_make_key
from site_client.ledger.status import LedgerStatus, status_of
from site_client.ledger.store import Store
from site_client.ledger.terms import LedgerTerms
from site_client.ledger.verification import VerificationReport, verify_ledger


class Ledger:
    """An open ledger; made by :meth:`create`, :meth:`open` or :meth:`open_or_create`. Safe in several threads.

    Several processes may have the same file open: each decision is made inside a transaction that keeps the others
    out, after their entries were read. Every method can raise ``LedgerDamagedError`` if the file does not hold and
    ``StudyError`` if it cannot be read or written now; nothing may be released then.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._cap = journal.opened.terms.cap()
        self._refused: Locked | None = None  # a lock, from before it is written: it holds even if the disk is full

    @classmethod
    def create(cls, path: Path, terms: LedgerTerms, *, clock: Clock) -> Self:
        """Make a new ledger and its signing key.

        Raises:
            InvalidInputError: If there is a ledger already, or what is left of one, or the terms make no sense.
            StudyError: If the folder cannot be written.
        """
        terms.cap()
        for remains in (path, path.with_name(path.name + "-wal")):
            if remains.exists():
                raise _not_new(remains)
        key = find_or_make_key(path)
        orders = tuple(ORDERS.tolist())
        opened = Opened(at=time_of(clock), terms=terms, public_key=key.public_key, orders=orders)
        try:
            Store.create(path, [following(0, GENESIS, opened)])
        except FileExistsError as failure:
            raise _not_new(path) from failure
        return cls.open(path, clock=clock)

    @classmethod
    def open(cls, path: Path, *, clock: Clock) -> Self:
        """Open a ledger and check its whole chain.

        Raises:
            InvalidInputError: If there is no ledger.
            LedgerDamagedError: If its chain, its last signature, its tables or its key do not hold.
            StudyError: If it cannot be read and written now.
        """
        return cls(Journal(path, clock=clock))

    @classmethod
    def open_or_create(cls, path: Path, terms: LedgerTerms, *, clock: Clock) -> Self:
        """Open the ledger, or make it if there is none.

        Raises:
            InvalidInputError: If it has other terms; otherwise as :meth:`open` and :meth:`create`.
        """
        if not path.exists():
            try:
                return cls.create(path, terms, clock=clock)
            except InvalidInputError:
                if not path.exists():  # otherwise another process was first, which is as good
                    raise
        ledger = cls.open(path, clock=clock)
        if ledger.terms != terms:
            ledger.close()
            raise InvalidInputError(
                f"expected the ledger {path} to have the terms ({terms}), got ({ledger.terms})",
                remedy="use this population's own ledger; the terms of a ledger never change",
            )
        return ledger

    @property
    def terms(self) -> LedgerTerms:
        """Population, site and cap."""
        return self._journal.opened.terms

    @property
    def public_key(self) -> str:
        """The key that every genuine head of this ledger is signed with."""
        return self._journal.opened.public_key

    def reserve(self, *, study: str, release: str, request: str, events: Sequence[PrivacyEvent]) -> Reservation:
        """Charge a release before its first noise is drawn; the same release is charged once.

        Args:
            study: Who asks: the study's name or digest.
            release: What for, unique within the study, such as ``train/7``.
            request: SHA-256 of the request, hexadecimal.
            events: What the mechanisms are going to do. Never empty.

        Returns:
            The reservation, which may be an earlier one in any state.

        Raises:
            BudgetExhaustedError: If the cap would be passed. Nothing has changed then.
            PrivacyRefusedError: If the release has no events, or was reserved for another request or other events.
            LedgerLockedError: If the ledger has locked itself.
        """
        refusals.check_name(study, what="a study")
        refusals.check_name(release, what="a release")
        refusals.check_hash(request, what="a request")
        if not events:
            raise refusals.without_events(release)
        charge = cost_of_all(events)
        with self._writing() as state:
            known = state.find(study, release)
            if known is not None:
                if known.request != request or self._journal.reserved(known.sequence).events != tuple(events):
                    raise refusals.other_request(known)
                return known
            if not self._cap.admits(state.spent, charge):
                raise refusals.exhausted(self.terms, release=release, spent=state.spent, charge=charge)
            self._journal.append(
                Reserved(
                    at=self._now(),
                    study=study,
                    release=release,
                    request=request,
                    events=tuple(events),
                    charge=charge,
                    spent_after=add(state.spent, charge),
                )
            )
        return self._journal.state.reservations[self._journal.state.by_release[study, release]]

    def computed(self, reservation: Reservation, released: str) -> Reservation:
        """Record what may leave for a reservation, after the bytes are safe on the disk.

        Args:
            reservation: From :meth:`reserve`.
            released: SHA-256 of the bytes, hexadecimal.

        Raises:
            PrivacyRefusedError: If other bytes were recorded before, or the reservation is not of this ledger.
            LedgerLockedError: If the ledger has locked itself.
        """
        refusals.check_hash(released, what="the released bytes' SHA-256")
        with self._writing() as state:
            known = _known(state, reservation)
            if known.released not in {None, released}:
                raise refusals.other_bytes(known)
            if known.released is None:
                self._journal.append(Computed(at=self._now(), reservation=known.sequence, released=released))
        return self._journal.state.reservations[known.sequence]

    def sent(self, reservation: Reservation) -> Reservation:
        """Record that the bytes of a reservation were handed over.

        Raises:
            PrivacyRefusedError: If they were not recorded as computed, or the reservation is not of this ledger.
            LedgerLockedError: If the ledger has locked itself.
        """
        with self._writing() as state:
            known = _known(state, reservation)
            if known.state == "reserved":
                raise refusals.not_computed(known)
            if known.state == "computed":
                self._journal.append(Sent(at=self._now(), reservation=known.sequence))
        return self._journal.state.reservations[known.sequence]

    def find(self, study: str, release: str) -> Reservation | None:
        """The reservation of a release as it stands now, or ``None``."""
        with self._journal.reading() as state:
            return state.find(study, release)

    def head(self) -> LedgerHead:
        """The signed head after everything committed so far, for others to keep.

        Raises:
            LedgerLockedError: If the ledger has locked itself.
        """
        with self._journal.reading() as state:
            self._check_lock(state)
            return self._journal.head()

    def witness(self, head: LedgerHead) -> None:
        """Show the ledger a head that others kept; return if the ledger contains it.

        Raises:
            PrivacyRefusedError: If the head was not signed with this ledger's key. The ledger stays open, or anybody
                could lock it.
            LedgerLockedError: If it was, and the ledger does not contain it: this is a restored backup or a copy. The
                ledger has locked itself, for good.
        """
        if head.public_key != self.public_key or head.population != self.terms.population or not head.is_genuine():
            raise refusals.forged(head)
        with self._writing() as state:
            row = self._journal.store.row(head.sequence)
            if row is not None and row.entry_hash.hex() == head.entry_hash:
                return
            self._refused = Locked(at=self._now(), reason=_reason(head, state.sequence), witnessed=head)
            self._journal.append(self._refused)
        raise refusals.locked(self._refused)

    def spent(self) -> Cost:
        """Everything charged so far, at every order. For the site's eyes only."""
        with self._journal.reading() as state:
            return state.spent

    def status(self) -> LedgerStatus:
        """What was charged to whom, and what is left. For the site's eyes only."""
        return status_of(self.entries())

    def entries(self) -> Generator[Row]:
        """Every row, from the first: one consistent reading, whatever is appended meanwhile."""
        with contextlib.closing(Store(self._journal.store.path)) as store:
            yield from store.rows()

    def verify(self) -> VerificationReport:
        """Check everything that the file promises, which takes longer than opening it."""
        return verify_ledger(self._journal.store.path)

    def close(self) -> None:
        """Close the file. Everything committed is on the disk already."""
        self._journal.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _writing(self) -> Generator[LedgerState]:
        with self._journal.writing() as state:
            self._check_lock(state)
            yield state

    def _check_lock(self, state: LedgerState) -> None:
        lock = state.locked or self._refused
        if lock is not None:
            raise refusals.locked(lock)

    def _now(self) -> str:
        return time_of(self._journal.clock)


def _known(state: LedgerState, reservation: Reservation) -> Reservation:
    known = state.find(reservation.study, reservation.release)
    if known is None or (known.sequence, known.request) != (reservation.sequence, reservation.request):
        raise refusals.not_ours(reservation)
    return known


def _reason(head: LedgerHead, entries: int) -> str:
    missing = (
        f"it has {entries} entries, and others witnessed {head.sequence}"
        if head.sequence > entries
        else f"its entry {head.sequence} is not the one that others witnessed"
    )
    return f"this is a restored backup or one of several copies of a ledger: {missing}"


def _not_new(path: Path) -> InvalidInputError:
    return InvalidInputError(
        f"expected no ledger at {path}, got one, or what is left of one",
        remedy="a population's ledger is made once; open it, or choose another path for another population",
    )
