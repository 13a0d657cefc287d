"""Authenticated messages: whatever was changed, replayed or made by somebody else is refused, byte by byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import SignatureRefusedError, TransportError
from federation.protocol.audit_head import AuditHead, HeadsShown, countersign
from federation.protocol.authenticated import (
    MOST_HEADER_BYTES,
    TAG,
    claim_of,
    open_reply,
    open_request,
    sign_reply,
    sign_request,
    unverified_payload,
)
from federation.protocol.signatures import SigningKey

COORDINATOR, NORTH, SOUTH = (SigningKey.from_bytes(bytes([number]) * 32) for number in (1, 2, 3))
STUDY, OTHER_STUDY = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PAYLOAD = b"an envelope"
HEAD = AuditHead.signed(NORTH, log="north", sequence=7, entry_hash="c" * 64)
HEADS = HeadsShown(own=HEAD, countersigned=countersign(HEAD, COORDINATOR))


def request(**changes: object) -> bytes:
    terms = {"key": COORDINATOR, "study": STUDY, "site": "north", "heads": HEADS} | changes
    return sign_request(PAYLOAD, **terms)


def reply(asked: bytes, **changes: object) -> bytes:
    return sign_reply(b"an answer", **({"key": NORTH, "study": STUDY, "site": "north", "request": asked} | changes))


def opened(content: bytes, **changes: object):
    return open_request(content, **({"public_key": COORDINATOR.public_key, "study": STUDY, "site": "north"} | changes))


def answered(content: bytes, asked: bytes, **changes: object):
    terms = {"public_key": NORTH.public_key, "study": STUDY, "site": "north", "request": asked} | changes
    return open_reply(content, **terms)


def reason_of(call: Callable[[], object]) -> object:
    with pytest.raises(SignatureRefusedError) as refusal:
        call()
    return refusal.value.facts["reason"]


def test_both_directions_arrive_as_they_were_sent() -> None:
    asked = request()
    found = opened(asked)
    assert (found.payload, found.heads, found.study, found.site) == (PAYLOAD, HEADS, STUDY, "north")
    answer = answered(reply(asked), asked)
    assert (answer.payload, answer.heads) == (b"an answer", None)
    assert claim_of(asked).direction == "request"
    assert unverified_payload(asked) == PAYLOAD


@given(st.binary(max_size=2000))
def test_any_payload_arrives_and_the_same_message_has_the_same_bytes(payload: bytes) -> None:
    content = sign_request(payload, key=COORDINATOR, study=STUDY, site="north")
    assert opened(content).payload == payload
    assert content == sign_request(payload, key=COORDINATOR, study=STUDY, site="north", heads=HeadsShown())


@pytest.mark.parametrize("direction", ["request", "reply"])
def test_every_changed_byte_is_refused(direction: str) -> None:
    """Each byte of the message, changed in three ways: the lowest bit, the highest bit, all bits."""
    asked = request()
    content = asked if direction == "request" else reply(asked)
    for place in range(len(content)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(content)
            changed[place] ^= change
            with pytest.raises((SignatureRefusedError, TransportError)):
                opened(bytes(changed)) if direction == "request" else answered(bytes(changed), asked)


@given(st.data())
def test_cut_grown_and_spliced_messages_are_refused(data: st.DataObject) -> None:
    content, other = request(), sign_request(b"another", key=COORDINATOR, study=STUDY, site="north")
    place = data.draw(st.integers(0, len(content) - 1))
    extra = data.draw(st.binary(min_size=1, max_size=50))
    for changed in (content[:place], content + extra, content[:place] + extra + content[place:]):
        with pytest.raises((SignatureRefusedError, TransportError)):
            opened(changed)
    spliced = content[:place] + other[place:]
    if spliced not in {content, other}:
        with pytest.raises((SignatureRefusedError, TransportError)):
            opened(spliced)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(content: bytes) -> None:
    for candidate in (content, TAG + content, TAG + (2**32 - 1).to_bytes(4, "little") + content):
        with pytest.raises(TransportError):
            opened(candidate)


def test_a_request_is_for_one_study_one_site_and_of_one_coordinator() -> None:
    assert reason_of(lambda: opened(request(study=OTHER_STUDY))) == "study"
    assert reason_of(lambda: opened(request(site="south"))) == "site"
    assert reason_of(lambda: opened(request(key=NORTH))) == "signature"
    assert reason_of(lambda: opened(reply(request()))) == "direction"


def test_a_reply_answers_one_request_of_one_site() -> None:
    asked, asked_later = request(), request(heads=None)
    genuine = reply(asked)
    assert reason_of(lambda: answered(genuine, asked_later)) == "request"
    assert reason_of(lambda: answered(genuine, asked, site="south")) == "site"
    assert reason_of(lambda: answered(genuine, asked, study=OTHER_STUDY)) == "study"
    assert reason_of(lambda: answered(reply(asked, key=SOUTH), asked)) == "signature"
    assert reason_of(lambda: answered(request(), asked)) == "direction"


def test_a_reply_cannot_pass_for_a_request_even_of_the_same_key() -> None:
    """Somebody who is coordinator and site at once still signs two different statements."""
    asked = request(key=NORTH)
    assert reason_of(lambda: opened(reply(asked), public_key=NORTH.public_key)) == "direction"


def test_replays_across_order_round_study_and_site() -> None:
    """Acceptance test 4: 100 captured replies, each offered as the answer to every other request. 0 are accepted."""
    asked = [
        sign_request(f"round {number}".encode(), key=COORDINATOR, study=study, site=site)
        for number in range(25)
        for study in (STUDY, OTHER_STUDY)
        for site in ("north", "south")
    ]
    keys = {"north": NORTH, "south": SOUTH}
    claims = [claim_of(content) for content in asked]
    captured = [
        reply(content, key=keys[claim.site], study=claim.study, site=claim.site)
        for content, claim in zip(asked, claims, strict=True)
    ]
    accepted = 0
    for place, (content, claim) in enumerate(zip(asked, claims, strict=True)):
        for other, answer in enumerate(captured):
            terms = {"study": claim.study, "site": claim.site, "public_key": keys[claim.site].public_key}
            if other == place:
                answered(answer, content, **terms)
                continue
            try:
                answered(answer, content, **terms)
            except SignatureRefusedError:
                continue
            accepted += 1
    assert accepted == 0


def test_a_repeated_request_may_carry_another_head_and_the_payload_stays() -> None:
    first, again = request(heads=None), request(heads=HEADS)
    assert opened(first).payload == opened(again).payload
    one, two = reply(first), reply(again, heads=HEADS)
    assert answered(one, first).payload == answered(two, again).payload
    assert answered(two, again).heads == HEADS


def test_a_header_in_another_form_is_refused_although_it_says_the_same() -> None:
    """Two byte strings for one statement would be two hashes of one request."""
    content = request(heads=None)
    start = len(TAG) + 4
    length = int.from_bytes(content[len(TAG) : start], "little")
    header = content[start : start + length]
    spaced = header.replace(b":", b": ", 1)
    changed = TAG + len(spaced).to_bytes(4, "little") + spaced + content[start + length :]
    with pytest.raises(TransportError, match="canonical"):
        opened(changed)


def test_a_long_header_is_refused_before_it_is_parsed() -> None:
    content = TAG + (MOST_HEADER_BYTES + 1).to_bytes(4, "little") + b"{" * (MOST_HEADER_BYTES + 100)
    with pytest.raises(TransportError, match="not framed"):
        opened(content)


def test_refusals_quote_nothing_of_what_came() -> None:
    header = b'{"direction":"CANARY-4711"}'
    with pytest.raises(TransportError) as refusal:
        opened(TAG + len(header).to_bytes(4, "little") + header + bytes(64) + b"CANARY-4711")
    assert "CANARY" not in str(refusal.value)
