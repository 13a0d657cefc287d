"""A small ledger, and what tests do with it."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

from federation.privacy.accounting import cost_of_all, epsilon_of
from federation.privacy.events import DiscreteGaussian, SubsampledGaussian
from site_client.ledger.chain import LedgerState, Reservation
from site_client.ledger.entries import Entry, Row, decode, following
from site_client.ledger.ledger import Ledger
from site_client.ledger.store import Store
from site_client.ledger.terms import LedgerTerms

DELTA = 1e-6
TRAINING = SubsampledGaussian(noise_multiplier=1.1, sampling_numerator=2**53 // 50, steps=20)
COUNTS = DiscreteGaussian(sensitivity_squared=2, variance=400)
TERMS = LedgerTerms(population="cardiology", site="st_mary", epsilon_cap=8.0, delta=DELTA)


def clock() -> dt.datetime:
    return dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make(path: Path, *, cap: float = 8.0) -> Ledger:
    return Ledger.create(path, TERMS.model_copy(update={"epsilon_cap": cap}), clock=clock)


def open_again(path: Path) -> Ledger:
    return Ledger.open(path, clock=clock)


def reserve(ledger: Ledger, number: int, *, study: str = "heart", events=(TRAINING,)) -> Reservation:
    return ledger.reserve(
        study=study, release=f"train/{number}", request=digest("request", study, number), events=events
    )


def answer(ledger: Ledger, number: int, *, study: str = "heart", events=(TRAINING,)) -> Reservation:
    """One release from beginning to end."""
    reservation = reserve(ledger, number, study=study, events=events)
    return ledger.sent(ledger.computed(reservation, digest("bytes", study, number)))


def content(path: Path) -> tuple[Row, ...]:
    """Every row of the file as it is."""
    store = Store(path)
    try:
        return tuple(store.rows())
    finally:
        store.close()


def entries_of(path: Path) -> list[Entry]:
    return [decode(row) for row in content(path)]


def cap_that_admits(releases: int, *, events=(TRAINING,)) -> float:
    """A cap that so many releases fit into and one more does not."""
    within = epsilon_of(list(events) * releases, delta=DELTA)
    beyond = epsilon_of(list(events) * (releases + 1), delta=DELTA)
    return (within + beyond) / 2


def rows_of(*entries: Entry) -> list[Row]:
    """A chain that holds, whatever the entries say."""
    state, rows = LedgerState(), []
    sequence, entry_hash = state.sequence, state.entry_hash
    for entry in entries:
        row = following(sequence, entry_hash, entry)
        rows.append(row)
        sequence, entry_hash = row.sequence, row.entry_hash
    return rows


def assert_sound(path: Path) -> None:
    """What must hold after whatever happened: the chain, the states, and the cap by our own sum of all events."""
    with open_again(path) as ledger:
        report = ledger.verify()
        assert report.intact, report
        events = [event for entry in entries_of(path) if entry.kind == "reserved" for event in entry.events]
        assert ledger.spent() == cost_of_all(events)
        assert epsilon_of(events, delta=ledger.terms.delta) <= ledger.terms.epsilon_cap
