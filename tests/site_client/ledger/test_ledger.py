"""Reserve, compute, send: what is charged, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import datetime as dt
import stat

import pytest

from federation.errors import (
    BudgetExhaustedError,
    InvalidInputError,
    PrivacyRefusedError,
)
from federation.privacy.accounting import NOTHING, add, cost_of, cost_of_all, epsilon_of
from federation.privacy.events import DiscreteGaussian
from site_client.ledger.chain import ENTRIES_PER_HEAD, Reservation
from site_client.ledger.ledger import Ledger
from tests.site_client.ledger.ledger_cases import (
    COUNTS,
    DELTA,
    TERMS,
    TRAINING,
    answer,
    assert_sound,
    cap_that_admits,
    clock,
    content,
    digest,
    entries_of,
    make,
    open_again,
    reserve,
)


def test_a_release_from_beginning_to_end(ledger, path):
    reservation = reserve(ledger, 1)
    assert reservation == Reservation(2, "heart", "train/1", digest("request", "heart", 1))
    computed = ledger.computed(reservation, digest("bytes"))
    assert (computed.state, computed.released) == ("computed", digest("bytes"))
    sent = ledger.sent(computed)
    assert (sent.state, sent.released, sent.sequence) == ("sent", digest("bytes"), 2)
    assert [entry.kind for entry in entries_of(path)] == ["opened", "reserved", "computed", "head_signed", "sent"]
    assert ledger.spent() == cost_of(TRAINING)
    assert_sound(path)


def test_a_new_ledger_has_spent_nothing(ledger):
    assert ledger.spent() == NOTHING
    assert ledger.find("heart", "train/1") is None
    assert ledger.status().epsilon_remaining == 8.0


def test_events_of_every_kind_add_up_in_one_release(ledger):
    reserve(ledger, 1, events=(TRAINING, COUNTS))
    reserve(ledger, 2, events=(COUNTS,))
    assert ledger.spent() == add(cost_of_all([TRAINING, COUNTS]), cost_of(COUNTS))


def test_the_same_release_is_charged_once_and_keeps_its_state(ledger, path):
    first = reserve(ledger, 1)
    before = content(path)
    assert reserve(ledger, 1) == first
    assert content(path) == before
    sent = answer(ledger, 1)
    assert reserve(ledger, 1) == sent == ledger.find("heart", "train/1")
    assert ledger.computed(first, digest("bytes", "heart", 1)) == sent
    assert ledger.sent(first) == sent
    assert ledger.spent() == cost_of(TRAINING)


@pytest.mark.parametrize(
    ("request_hash", "events"),
    [
        (digest("another request"), (TRAINING,)),
        (digest("request", "heart", 1), (COUNTS,)),
        (digest("request", "heart", 1), (TRAINING, TRAINING)),
    ],
    ids=["request", "events", "more events"],
)
def test_another_request_for_an_answered_release_is_refused(ledger, path, request_hash, events):
    reserve(ledger, 1)
    before = content(path)
    with pytest.raises(PrivacyRefusedError, match="another request"):
        ledger.reserve(study="heart", release="train/1", request=request_hash, events=events)
    assert content(path) == before


def test_a_release_without_events_would_be_free(ledger, path):
    with pytest.raises(PrivacyRefusedError, match="got none"):
        reserve(ledger, 1, events=())
    assert len(content(path)) == 1


def test_the_cap_is_never_passed_and_a_refusal_changes_nothing(path):
    with make(path, cap=cap_that_admits(3)) as ledger:
        for number in range(3):
            reserve(ledger, number)
        before = content(path)
        with pytest.raises(BudgetExhaustedError) as refusal:
            reserve(ledger, 3)
        assert content(path) == before
        assert ledger.find("heart", "train/3") is None
        facts = refusal.value.facts
        assert facts["spent"] == pytest.approx(epsilon_of([TRAINING] * 3, delta=DELTA))
        assert facts["release_alone"] == pytest.approx(epsilon_of([TRAINING], delta=DELTA))
        assert f"{facts['spent']:.6g} is spent" in refusal.value.message
        # What still fits is admitted: a refusal does not close the ledger.
        reserve(ledger, 4, events=(DiscreteGaussian(sensitivity_squared=1, variance=10**9),))
    assert_sound(path)


def test_a_release_without_any_bound_is_never_admitted(ledger):
    with pytest.raises(BudgetExhaustedError, match="inf"):
        reserve(ledger, 1, events=(DiscreteGaussian(sensitivity_squared=10**30, variance=1),))
    assert ledger.spent() == NOTHING


def test_two_studies_of_one_population_share_the_cap(path):
    with make(path, cap=cap_that_admits(3)) as ledger:
        reserve(ledger, 1, study="heart")
        reserve(ledger, 1, study="kidney")
        reserve(ledger, 2, study="kidney")
        with pytest.raises(BudgetExhaustedError):
            reserve(ledger, 2, study="heart")
        studies = {study.study: study.releases for study in ledger.status().studies}
        assert studies == {"heart": 1, "kidney": 2}


def test_a_named_order_counts_alone(path):
    terms = TERMS.model_copy(update={"order": 8.0})
    with Ledger.create(path, terms, clock=clock) as ledger:
        reserve(ledger, 1)
        at_order = ledger.status().epsilon_spent
    assert at_order > epsilon_of([TRAINING], delta=DELTA)
    with pytest.raises(InvalidInputError, match="order of the grid"):
        Ledger.create(path.with_name("b"), TERMS.model_copy(update={"order": 8.05}), clock=clock)


def test_only_the_identical_bytes_may_leave(ledger, path):
    computed = ledger.computed(reserve(ledger, 1), digest("bytes"))
    before = content(path)
    for again in (computed, ledger.sent(computed)):
        with pytest.raises(PrivacyRefusedError, match="only the identical bytes may ever leave"):
            ledger.computed(again, digest("other bytes"))
    assert content(path)[: len(before)] == before
    assert ledger.find("heart", "train/1").released == digest("bytes")


def test_nothing_is_sent_before_it_is_computed(ledger):
    reservation = reserve(ledger, 1)
    with pytest.raises(PrivacyRefusedError, match="computed before it is sent"):
        ledger.sent(reservation)
    assert ledger.find("heart", "train/1").state == "reserved"


@pytest.mark.parametrize("method", ["computed", "sent"])
def test_a_reservation_of_another_ledger_is_refused(ledger, tmp_path, method):
    reserve(ledger, 1)
    with make(tmp_path / "other") as other:
        reserve(other, 0)
        foreign = reserve(other, 1)
    words = (digest("bytes"),) if method == "computed" else ()
    for reservation in (foreign, Reservation(2, "heart", "train/9", digest("r"))):
        with pytest.raises(PrivacyRefusedError, match="a reservation of this ledger"):
            getattr(ledger, method)(reservation, *words)


@pytest.mark.parametrize(
    "words",
    [{"study": ""}, {"study": "a b"}, {"release": "train/1\n"}, {"release": "x" * 201}, {"request": "A" * 64}],
    ids=lambda words: next(iter(words)),
)
def test_names_and_hashes_are_checked(ledger, words):
    usual = {"study": "heart", "release": "train/1", "request": digest("r"), "events": (TRAINING,)}
    with pytest.raises(InvalidInputError, match="expected"):
        ledger.reserve(**usual | words)
    with pytest.raises(InvalidInputError, match="64"):
        ledger.computed(reserve(ledger, 1), "sha256:" + "0" * 64)


def test_everything_is_there_after_reopening(path):
    with make(path) as ledger:
        answer(ledger, 1)
        computed = ledger.computed(reserve(ledger, 2), digest("bytes"))
        reserved = reserve(ledger, 3)
        before = ledger.status()
    with open_again(path) as ledger:
        assert ledger.status() == before
        assert ledger.find("heart", "train/2") == computed
        assert reserve(ledger, 3) == reserved
        with pytest.raises(PrivacyRefusedError):
            ledger.computed(computed, digest("computed again"))
        assert ledger.sent(computed).state == "sent"
        assert ledger.computed(reserved, digest("recomputed")).state == "computed"


def test_a_head_is_signed_at_every_release_and_every_hundred_entries(path):
    with make(path, cap=50.0) as ledger:
        for number in range(ENTRIES_PER_HEAD + 20):
            reserve(ledger, number, events=(COUNTS,))
        answer(ledger, 0, events=(COUNTS,))
    signed = [
        row.sequence for row, entry in zip(content(path), entries_of(path), strict=True) if entry.kind == "head_signed"
    ]
    assert signed == [ENTRIES_PER_HEAD + 1, ENTRIES_PER_HEAD + 24]
    assert_sound(path)


def test_the_clock_decides_nothing(path):
    times = iter([dt.datetime(2030, 1, 1, tzinfo=dt.UTC)] + [dt.datetime(1970, 1, 1, tzinfo=dt.UTC)] * 20)
    terms = TERMS.model_copy(update={"epsilon_cap": cap_that_admits(2)})
    with Ledger.create(path, terms, clock=lambda: next(times)) as ledger:
        answer(ledger, 1)
        answer(ledger, 2)
        with pytest.raises(BudgetExhaustedError):
            reserve(ledger, 3)
    assert [entry.at[:4] for entry in entries_of(path)] == ["2030"] + ["1970"] * 8
    assert_sound(path)


def test_the_status_says_what_is_left(path):
    with make(path) as ledger:
        answer(ledger, 1)
        ledger.computed(reserve(ledger, 2), digest("bytes"))
        reserve(ledger, 3, events=(COUNTS,))
        status = ledger.status()
    total = epsilon_of([TRAINING, TRAINING, COUNTS], delta=DELTA)
    assert status.epsilon_spent == pytest.approx(total)
    assert status.epsilon_remaining == pytest.approx(8.0 - total)
    assert (status.reserved, status.computed, status.sent, status.entries) == (1, 1, 1, 9)
    assert [release.state for release in status.releases] == ["sent", "computed", "reserved"]
    assert status.releases[2].epsilon_alone == pytest.approx(epsilon_of([COUNTS], delta=DELTA))
    assert status.locked is None


def test_the_key_is_secret_and_beside_the_ledger(ledger, path):
    key = path.with_name("cardiology.sqlite.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert entries_of(path)[0].public_key == ledger.public_key
    assert key.read_bytes() not in path.read_bytes()


def test_there_is_no_way_to_give_anything_back():
    public = {name for name in dir(Ledger) if not name.startswith("_")}
    assert public == {
        "close", "computed", "create", "entries", "find", "head", "open", "open_or_create", "public_key", "reserve",
        "sent", "spent", "status", "terms", "verify", "witness",
    }  # fmt: skip
