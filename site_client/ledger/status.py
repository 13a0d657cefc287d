"""What a ledger says to the people at the site: what is spent, by whom, and what is left. It stays at the site."""

from __future__ import annotations

from collections.abc import Iterable

from federation.documents import Document
from federation.privacy.accounting import NOTHING, Cost, add
from site_client.ledger.chain import LedgerState, ReservationState
from site_client.ledger.entries import Reserved, Row
from site_client.ledger.terms import LedgerTerms


class ReleaseStatus(Document):
    """One release."""

    sequence: int
    study: str
    release: str
    state: ReservationState
    reserved_at: str
    epsilon_alone: float
    """What it would cost if it were the only one. Releases add up to less than the sum of these."""


class StudyStatus(Document):
    """All releases of one study."""

    study: str
    releases: int
    epsilon_alone: float
    """What the study would have cost if it were the only one."""


class LedgerStatus(Document):
    """The whole ledger, at its own delta."""

    population: str
    site: str
    epsilon_cap: float
    delta: float
    order: float | None
    epsilon_spent: float
    epsilon_remaining: float
    entries: int
    reserved: int
    """Releases that were charged and not computed: a crash in between, or a release under way."""
    computed: int
    """Releases that were computed and not yet handed over."""
    sent: int
    locked: str | None
    """Why the ledger has locked itself, if it has."""
    studies: tuple[StudyStatus, ...]
    releases: tuple[ReleaseStatus, ...]


def status_of(rows: Iterable[Row]) -> LedgerStatus:
    """Replay a ledger and sum it up.

    Raises:
        LedgerDamagedError: If an entry cannot follow, or there is none.
    """
    state = LedgerState()
    reserved: dict[int, Reserved] = {}
    for row in rows:
        entry = state.apply(row)
        if isinstance(entry, Reserved):
            reserved[row.sequence] = entry
    return _summary(state, state.first().terms, reserved)


def _summary(state: LedgerState, terms: LedgerTerms, reserved: dict[int, Reserved]) -> LedgerStatus:
    cap = terms.cap()
    by_study: dict[str, Cost] = {}
    counts: dict[str, int] = {}
    releases: list[ReleaseStatus] = []
    for sequence, entry in reserved.items():
        by_study[entry.study] = add(by_study.get(entry.study, NOTHING), entry.charge)
        counts[entry.study] = counts.get(entry.study, 0) + 1
        releases.append(
            ReleaseStatus(
                sequence=sequence,
                study=entry.study,
                release=entry.release,
                state=state.reservations[sequence].state,
                reserved_at=entry.at,
                epsilon_alone=cap.spent(entry.charge),
            )
        )
    states = [release.state for release in releases]
    return LedgerStatus(
        population=terms.population,
        site=terms.site,
        epsilon_cap=terms.epsilon_cap,
        delta=terms.delta,
        order=terms.order,
        epsilon_spent=cap.spent(state.spent),
        epsilon_remaining=cap.remaining(state.spent),
        entries=state.sequence,
        reserved=states.count("reserved"),
        computed=states.count("computed"),
        sent=states.count("sent"),
        locked=state.locked.reason if state.locked else None,
        studies=tuple(
            StudyStatus(study=study, releases=counts[study], epsilon_alone=cap.spent(cost))
            for study, cost in by_study.items()
        ),
        releases=tuple(releases),
    )
