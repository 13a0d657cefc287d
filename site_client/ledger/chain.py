"""What the entries of a ledger amount to, replayed one by one; an entry that cannot follow is damage.

The agent's state and the auditor's verification come from the same replay, so there is one place that says which
entry may follow which.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal, assert_never

from federation.errors import InvalidInputError
from federation.privacy.accounting import NOTHING, Cost, add
from federation.privacy.rdp_curves import ORDERS
from federation.protocol.ledger_head import LedgerHead
from site_client.ledger.entries import (
    GENESIS,
    Computed,
    Entry,
    HeadSigned,
    Locked,
    Opened,
    Reserved,
    Row,
    Sent,
    chained,
    damaged,
    decode,
)

ENTRIES_PER_HEAD: Final = 100
"""At least every so many entries a head is signed; after every computed release in any case."""

ReservationState = Literal["reserved", "computed", "sent"]


@dataclass(frozen=True)
class Reservation:
    """A release that is paid for.

    Attributes:
        sequence: Its entry in the ledger.
        study: Who asked.
        release: What for, such as ``train/7``.
        request: SHA-256 of the request.
        state: ``reserved`` (may be computed), ``computed`` (only the identical bytes may leave) or ``sent``.
        released: SHA-256 of the released bytes, once they are computed.
    """

    sequence: int
    study: str
    release: str
    request: str
    state: ReservationState = "reserved"
    released: str | None = None


@dataclass
class LedgerState:
    """Everything that a decision needs, after ``sequence`` entries."""

    sequence: int = 0
    entry_hash: bytes = GENESIS
    opened: Opened | None = None
    spent: Cost = NOTHING
    locked: Locked | None = None
    last_head: LedgerHead | None = None
    reservations: dict[int, Reservation] = field(default_factory=dict[int, Reservation])
    by_release: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    must_sign: bool = False

    def first(self) -> Opened:
        """The first entry.

        Raises:
            LedgerDamagedError: If there is none.
        """
        if self.opened is None:
            raise damaged(1, "the terms are missing, the ledger is empty")
        return self.opened

    def find(self, study: str, release: str) -> Reservation | None:
        """The reservation of a release, if there is one."""
        sequence = self.by_release.get((study, release))
        return None if sequence is None else self.reservations[sequence]

    def needs_head(self, entry: Entry, sequence: int) -> bool:
        """Whether a signed head must directly follow ``entry``."""
        last_signed = self.last_head.sequence if self.last_head else 0
        return isinstance(entry, Computed) or sequence - last_signed >= ENTRIES_PER_HEAD

    def apply(self, row: Row) -> Entry:
        """Take one more entry; the state is unchanged if it cannot follow.

        Returns:
            The entry.

        Raises:
            LedgerDamagedError: If the entry cannot follow, naming it.
            InvalidInputError: If the ledger was made for another grid of orders.
        """
        if row.sequence != self.sequence + 1:
            raise damaged(self.sequence + 1, f"missing, entry {row.sequence} follows entry {self.sequence}")
        if row.entry_hash != chained(self.entry_hash, row.body):
            raise damaged(row.sequence, "its hash is not that of its body and the entry before")
        entry = decode(row)
        self._check_place(row.sequence, entry)
        self._take(row.sequence, entry)
        self.must_sign = not isinstance(entry, HeadSigned) and self.needs_head(entry, row.sequence)
        self.sequence, self.entry_hash = row.sequence, row.entry_hash
        return entry

    def _check_place(self, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Opened) != (sequence == 1):
            raise damaged(sequence, f"{entry.kind!r} cannot stand here, the terms come first and once")
        if self.locked:
            raise damaged(sequence, "nothing can follow a lock")
        if self.must_sign and not isinstance(entry, HeadSigned):
            raise damaged(sequence, f"expected a signed head, got {entry.kind!r}")

    def _take(self, sequence: int, entry: Entry) -> None:
        match entry:
            case Opened():
                self._take_opened(entry)
            case Reserved():
                self._take_reserved(sequence, entry)
            case Computed():
                self._move(sequence, entry.reservation, before="reserved", after="computed", released=entry.released)
            case Sent():
                self._move(sequence, entry.reservation, before="computed", after="sent")
            case HeadSigned():
                self._take_head(sequence, entry.head)
            case Locked():
                self.locked = entry
            case _:  # pragma: no cover - the type checker proves it
                assert_never(entry)

    def _take_opened(self, entry: Opened) -> None:
        if entry.orders != tuple(ORDERS.tolist()):
            raise InvalidInputError(
                f"expected a ledger over this version's {len(ORDERS)} Rényi orders, got one over {len(entry.orders)}",
                remedy="use the version of Cohortium that made the ledger; costs at other orders cannot be added",
            )
        self.opened = entry

    def _take_reserved(self, sequence: int, entry: Reserved) -> None:
        if (entry.study, entry.release) in self.by_release:
            raise damaged(sequence, f"{entry.release} is reserved a second time")
        if entry.spent_after != add(self.spent, entry.charge):
            raise damaged(sequence, "what is spent after it is not what was spent before and its charge")
        self.spent = entry.spent_after
        self.by_release[entry.study, entry.release] = sequence
        self.reservations[sequence] = Reservation(sequence, entry.study, entry.release, entry.request)

    def _move(
        self,
        sequence: int,
        number: int,
        *,
        before: ReservationState,
        after: ReservationState,
        released: str | None = None,
    ) -> None:
        reservation = self.reservations.get(number)
        if reservation is None or reservation.state != before:
            found = "no reservation" if reservation is None else reservation.state
            raise damaged(sequence, f"{after!r} needs entry {number} to be {before!r}, which is {found!r}")
        self.reservations[number] = replace(reservation, state=after, released=released or reservation.released)

    def _take_head(self, sequence: int, head: LedgerHead) -> None:
        opened = self.first()
        if (head.sequence, head.entry_hash, head.public_key, head.population) != (
            sequence - 1,
            self.entry_hash.hex(),
            opened.public_key,
            opened.terms.population,
        ):
            raise damaged(sequence, "the signed head is not that of the entry before, by the ledger's own key")
        self.last_head = head
