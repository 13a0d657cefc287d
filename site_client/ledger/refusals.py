"""What a ledger refuses, said so that a person at the site knows why and what to do."""

from __future__ import annotations

import re
from typing import Final

from federation.errors import BudgetExhaustedError, InvalidInputError, LedgerLockedError, PrivacyRefusedError
from federation.privacy.accounting import Cost, add
from federation.protocol.ledger_head import LedgerHead
from site_client.ledger.chain import Reservation
from site_client.ledger.entries import Locked
from site_client.ledger.terms import LedgerTerms

_NAME: Final = re.compile(r"[!-~]{1,200}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def check_name(value: str, *, what: str) -> None:
    """Refuse what cannot be the name of a study or release.

    Raises:
        InvalidInputError: If it is empty, too long, or has spaces or characters that do not print.
    """
    if not _NAME.fullmatch(value):
        raise InvalidInputError(f"expected {what} as 1 to 200 printable characters without spaces, got {value[:200]!r}")


def check_hash(value: str, *, what: str) -> None:
    """Refuse what is not a SHA-256 in hexadecimal.

    Raises:
        InvalidInputError: If it is not 64 lower-case hexadecimal digits.
    """
    if not _HASH.fullmatch(value):
        raise InvalidInputError(f"expected {what} as 64 lower-case hexadecimal digits, got {value[:80]!r}")


def exhausted(terms: LedgerTerms, *, release: str, spent: Cost, charge: Cost) -> BudgetExhaustedError:
    """The release would pass the cap."""
    cap = terms.cap()
    before, alone, after = cap.spent(spent), cap.spent(charge), cap.spent(add(spent, charge))
    return BudgetExhaustedError(
        f"expected population {terms.population} at {terms.site} to stay within epsilon {terms.epsilon_cap:g} at delta"
        f" {terms.delta:g}, got a release ({release}) after which it would be {after:.6g}: {before:.6g} is spent, and the"
        f" release alone costs {alone:.6g}",
        remedy="ask for more noise or fewer rounds, which is a new version of the study; what is spent never comes back",
        population=terms.population,
        epsilon_cap=terms.epsilon_cap,
        delta=terms.delta,
        spent=before,
        release_alone=alone,
        after=after,
    )


def without_events(release: str) -> PrivacyRefusedError:
    """A release that names no mechanism would be free of charge."""
    return PrivacyRefusedError(
        f"expected the privacy events of release {release}, got none",
        remedy="what is computed from patients is paid for; what is not needs no ledger",
    )


def other_request(known: Reservation) -> PrivacyRefusedError:
    """The release is reserved for a different request or with different events."""
    return PrivacyRefusedError(
        f"expected the request that {known.release} of {known.study} was reserved for (entry {known.sequence}), got"
        " another request or other privacy events",
        remedy="a release is answered once; give the new one a name of its own, and it is charged",
    )


def other_bytes(known: Reservation) -> PrivacyRefusedError:
    """The release was computed before, to other bytes."""
    return PrivacyRefusedError(
        f"expected the bytes with SHA-256 {known.released} for {known.release} of {known.study}, got others: only the"
        " identical bytes may ever leave",
        remedy="send the reply that was kept; if it is lost, the release is lost, and what it cost is spent",
    )


def not_computed(known: Reservation) -> PrivacyRefusedError:
    """Something was sent that the ledger does not know."""
    return PrivacyRefusedError(
        f"expected {known.release} of {known.study} to be computed before it is sent, got a reservation only",
        remedy="record the hash of the bytes first, then send them",
    )


def not_ours(reservation: Reservation) -> PrivacyRefusedError:
    """The reservation is not one of this ledger."""
    return PrivacyRefusedError(
        f"expected a reservation of this ledger, got entry {reservation.sequence} for {reservation.release} of"
        f" {reservation.study}",
        remedy="reserve with the ledger that is open now",
    )


def forged(head: LedgerHead) -> PrivacyRefusedError:
    """The head was not signed with this ledger's key."""
    return PrivacyRefusedError(
        f"expected a head signed with this ledger's key, got one of population {head.population} by the key"
        f" {head.public_key[:16]}...",
        remedy="find out who sent it. If the ledger was made anew with a new key, the old one must come back",
    )


def locked(entry: Locked) -> LedgerLockedError:
    """The ledger has locked itself."""
    return LedgerLockedError(
        f"expected a ledger that has every entry others witnessed, got a locked one: {entry.reason}",
        remedy="nothing can be charged to this copy again. Stop the agent, find the copy that went on (the one that"
        " contains the witnessed head), and use that one only; docs/ledger.md says how",
        witnessed=entry.witnessed.sequence,
    )
