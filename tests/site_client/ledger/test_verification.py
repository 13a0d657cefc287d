"""What an intruder with the file, the hash function and even the signing key can write, and that it is named."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from federation.errors import InvalidInputError, LedgerDamagedError
from federation.privacy.accounting import NOTHING, UNBOUNDED, add, cost_of
from federation.privacy.events import DiscreteGaussian
from federation.privacy.rdp_curves import ORDERS
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.signatures import SigningKey
from site_client.ledger.chain import LedgerState
from site_client.ledger.entries import (
    GENESIS,
    Computed,
    HeadSigned,
    Locked,
    Opened,
    Reserved,
    Row,
    Sent,
    chained,
    encode,
)
from site_client.ledger.key_file import key_path
from site_client.ledger.store import Store
from site_client.ledger.verification import verify_ledger
from tests.site_client.ledger.ledger_cases import (
    COUNTS,
    TERMS,
    TRAINING,
    answer,
    content,
    digest,
    make,
    open_again,
    reserve,
    rows_of,
)

KEY = SigningKey.from_bytes(bytes(range(32)))
AT = "2026-03-01T12:00:00+00:00"
OPENED = Opened(at=AT, terms=TERMS, public_key=KEY.public_key, orders=tuple(ORDERS.tolist()))
COST = cost_of(TRAINING)


def reserved(number=1, *, before=NOTHING, charge=COST, after=None, events=(TRAINING,)):
    return Reserved(
        at=AT, study="heart", release=f"train/{number}", request=digest(number), events=events, charge=charge,
        spent_after=add(before, charge) if after is None else after,
    )  # fmt: skip


def head_after(*entries, **changes):
    last = rows_of(*entries)[-1]
    head = LedgerHead.signed(KEY, population="cardiology", sequence=last.sequence, entry_hash=last.entry_hash.hex())
    return HeadSigned(at=AT, head=head.model_copy(update=changes))


COMPUTED = Computed(at=AT, reservation=2, released=digest("bytes"))
RELEASED = (OPENED, reserved(), COMPUTED, head_after(OPENED, reserved(), COMPUTED))
SENT = Sent(at=AT, reservation=2)
LOCKED = Locked(at=AT, reason="a backup", witnessed=head_after(OPENED).head)

ILLEGAL = {
    "no terms": ((reserved(),), "the terms come first"),
    "terms twice": ((OPENED, OPENED), "the terms come first"),
    "reserved twice": ((OPENED, reserved(), reserved(before=COST)), "a second time"),
    "a wrong sum": ((OPENED, reserved(), reserved(2)), "what is spent after it"),
    "a refund": ((OPENED, reserved(), reserved(2, charge=NOTHING, after=NOTHING)), "what is spent after it"),
    "computed from nothing": ((OPENED, COMPUTED), "no reservation"),
    "computed twice": ((*RELEASED, COMPUTED), "which is 'computed'"),
    "sent before computed": ((OPENED, reserved(), SENT), "which is 'reserved'"),
    "sent twice": ((*RELEASED, SENT, SENT), "which is 'sent'"),
    "no head after a release": ((OPENED, reserved(), COMPUTED, SENT), "expected a signed head"),
    "a head of another entry": ((OPENED, head_after(OPENED, sequence=2)), "signed head is not that"),
    "a head of another hash": ((OPENED, head_after(OPENED, entry_hash="0" * 64)), "signed head is not that"),
    "a head of another key": ((OPENED, head_after(OPENED, public_key="0" * 64)), "signed head is not that"),
    "a head of another population": ((OPENED, head_after(OPENED, population="lung")), "signed head is not that"),
    "something after a lock": ((OPENED, LOCKED, reserved()), "nothing can follow a lock"),
}


def write(path, rows):
    key_path(path).write_bytes(KEY.to_bytes())
    Store.create(path, rows)


def test_a_chain_that_holds(path):
    write(path, rows_of(*RELEASED, SENT, LOCKED))
    report = verify_ledger(path)
    assert (report.intact, report.entries, report.signatures, report.problem) == (True, 6, 1, None)
    assert report.entry_hash == content(path)[-1].entry_hash.hex()
    assert report.epsilon_spent == pytest.approx(TERMS.cap().spent(COST))
    with open_again(path) as ledger:
        assert ledger.find("heart", "train/1").state == "sent"


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_entry_that_cannot_follow_is_named(path, name):
    entries, problem = ILLEGAL[name]
    write(path, rows_of(*entries))
    report = verify_ledger(path)
    assert not report.intact
    assert report.first_bad_entry == len(entries)
    assert report.entries == len(entries) - 1
    assert problem in report.problem
    with pytest.raises(LedgerDamagedError, match=f"entry {len(entries)}: "):
        open_again(path)


def free(count):
    """An event whose cost is far above what is charged for it, by so many nano-units."""
    return tuple(max(0, cost - count) for cost in COST)


CHEATING = {
    "charged too little": (reserved(charge=free(10**6)), "charged less"),
    "charged nothing": (reserved(charge=NOTHING), "charged less"),
    "no bound, charged a little": (
        reserved(charge=COST, events=(DiscreteGaussian(sensitivity_squared=10**30, variance=1),)),
        "charged less",
    ),
    "the cap is passed": (reserved(charge=tuple(1000 * cost for cost in COST)), "cap is passed"),
    "no bound": (reserved(charge=(UNBOUNDED,) * len(ORDERS)), "cap is passed"),
}


@pytest.mark.parametrize("name", CHEATING)
def test_a_charge_that_is_not_due_is_named(path, name):
    entry, problem = CHEATING[name]
    write(path, rows_of(OPENED, reserved(0, events=(COUNTS,), charge=cost_of(COUNTS)), entry.model_copy(
        update={"spent_after": add(cost_of(COUNTS), entry.charge)}
    )))  # fmt: skip
    report = verify_ledger(path)
    assert (report.intact, report.first_bad_entry, report.entries) == (False, 3, 2)
    assert problem in report.problem
    if "passed" in problem:
        with pytest.raises(LedgerDamagedError, match="cap is passed"):
            open_again(path)


def test_a_charge_by_another_mathematics_library_is_accepted(path):
    write(path, rows_of(OPENED, reserved(charge=free(1)), reserved(2, before=free(1), charge=add(COST, COST))))
    assert verify_ledger(path).intact


def test_a_false_signature_is_named(path):
    write(path, rows_of(OPENED, head_after(OPENED, signature="ab" * 64), reserved()))
    report = verify_ledger(path)
    assert (report.intact, report.first_bad_entry) == (False, 2)
    assert "not genuine" in report.problem
    with pytest.raises(LedgerDamagedError, match="not genuine"):
        open_again(path)


def raw(*bodies):
    rows, previous = [], GENESIS
    for sequence, body in enumerate(bodies, start=1):
        previous = chained(previous, body)
        rows.append(Row(sequence, body, previous))
    return rows


def test_an_entry_has_one_body(path):
    loose = json.dumps(json.loads(encode(reserved()))).encode()
    write(path, raw(encode(OPENED), loose))
    report = verify_ledger(path)
    assert (report.intact, report.first_bad_entry) == (False, 2)
    assert "the one way" in report.problem


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"\xff", encode(SENT).replace(b"sent", b"paid"), encode(SENT).replace(b"}", b',"x":1}'),
     encode(reserved(events=(TRAINING,))).replace(b"poisson", b"unknown"),
     encode(reserved()).replace(b'"charge":[', b'"charge":[0,')],
    ids=["empty", "no kind", "not text", "unknown kind", "unknown field", "unknown event", "other orders"],
)  # fmt: skip
def test_a_body_that_no_entry_has_is_named(path, body):
    write(path, raw(encode(OPENED), body))
    assert verify_ledger(path).first_bad_entry == 2


def test_an_event_that_cannot_be_accounted_for_is_named(path, monkeypatch):
    from federation.errors import PrivacyRefusedError
    from site_client.ledger import verification

    def refuse(_):
        raise PrivacyRefusedError("expected an event of a known kind, got 'x'")

    write(path, rows_of(OPENED, reserved()))
    monkeypatch.setattr(verification, "cost_of_all", refuse)
    assert verify_ledger(path).first_bad_entry == 2


def test_another_grid_of_orders_is_another_currency(path):
    write(path, rows_of(OPENED.model_copy(update={"orders": (2.0, 4.0)})))
    for attempt in (verify_ledger, open_again):
        with pytest.raises(InvalidInputError, match="orders"):
            attempt(path)


def change(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("DELETE FROM entries WHERE sequence = 3", 3),
        ("DELETE FROM entries WHERE sequence = 1", 1),
        ("DELETE FROM entries", 1),
        ("UPDATE entries SET body = (SELECT body FROM entries WHERE sequence = 3) WHERE sequence = 2", 2),
        ("UPDATE entries SET entry_hash = zeroblob(32) WHERE sequence = 4", 4),
        ("UPDATE entries SET sequence = 99 WHERE sequence = 5", 5),
        ("INSERT INTO entries SELECT 0, body, entry_hash FROM entries WHERE sequence = 1", 1),
    ],
)
def test_a_changed_file_names_its_first_bad_entry(path, statement, first_bad):
    with make(path) as ledger:
        answer(ledger, 1)
        answer(ledger, 2)
    change(path, statement)
    report = verify_ledger(path)
    if "SELECT 0" in statement:  # before the first entry nothing is read
        assert report.intact
        return
    assert (report.intact, report.first_bad_entry) == (False, first_bad)
    with pytest.raises(LedgerDamagedError, match=f"entry {first_bad}: "):
        open_again(path)


def test_damaged_pages_are_reported(path):
    make(path).close()
    pages = bytearray(path.read_bytes())
    pages[36:40] = (1).to_bytes(4, "big")  # SQLite's header: so many pages are free, and the next entry may take one
    path.write_bytes(pages)
    report = verify_ledger(path)
    assert (report.intact, report.first_bad_entry, report.entries) == (False, None, 1)
    assert "freelist" in report.problem.lower()
    with pytest.raises(LedgerDamagedError, match=r"(?i)freelist"):
        open_again(path)


def test_a_file_that_is_no_ledger_is_reported(path):
    path.write_bytes(b"no database" * 1000)
    report = verify_ledger(path)
    assert (report.intact, report.entries, report.first_bad_entry, report.epsilon_spent) == (False, 0, None, 0.0)
    with pytest.raises(InvalidInputError):
        verify_ledger(path.with_name("absent"))


def test_the_reservation_of_a_repeated_request_must_still_be_there(ledger, monkeypatch):
    reserve(ledger, 1)
    for row in (None, content(ledger._journal.store.path)[0]):
        monkeypatch.setattr(ledger._journal.store, "row", lambda _, row=row: row)
        with pytest.raises(LedgerDamagedError, match="entry 2"):
            reserve(ledger, 1)


def test_a_replay_that_refuses_an_entry_is_unchanged():
    state = LedgerState()
    state.apply(rows_of(OPENED)[0])
    before = (state.sequence, state.entry_hash, dict(state.by_release), state.spent)
    for entry in (OPENED, COMPUTED, SENT, reserved(after=NOTHING)):
        with pytest.raises(LedgerDamagedError):
            state.apply(rows_of(OPENED, entry)[1])
        assert (state.sequence, state.entry_hash, state.by_release, state.spent) == before
