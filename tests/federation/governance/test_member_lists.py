"""The authority's lists: whose they are, and that time runs one way."""

from __future__ import annotations

import datetime as dt

import pytest

from federation.errors import EnrolmentRefusedError
from federation.governance.enrolment import (
    Authority,
    Member,
    Members,
    Revocations,
    RevokedCertificate,
    SignedMembers,
    SignedRevocations,
)
from federation.governance.member_lists import MEMBERS, REVOCATIONS, check_members, check_newer, check_revocations
from federation.governance.signed import sign_document
from federation.protocol.signatures import SigningKey

NOW = dt.datetime(2031, 5, 1, tzinfo=dt.UTC)
PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
KEY = SigningKey.from_bytes(bytes([8]) * 32)
AUTHORITY = Authority(consortium="cardio", certificate=PEM, public_key=KEY.public_key, sealing_key="1" * 64)
MEMBER = Member(
    site="st_mary",
    identity_key="2" * 64,
    node_key=PEM,
    certificate_serial="1a",
    certificate_fingerprint="3" * 64,
    expires=NOW,
)
LIST = Members(consortium="cardio", number=3, members=(MEMBER,))
REVOKED = Revocations(
    consortium="cardio", number=2, entries=(RevokedCertificate(site="university", serial="2b", since=NOW),)
)


def _members(listed: Members = LIST, *, key: SigningKey = KEY, purpose: str = MEMBERS) -> SignedMembers:
    return SignedMembers(members=listed, signature=sign_document(listed, key, purpose=purpose))


def _revocations(listed: Revocations = REVOKED, *, key: SigningKey = KEY) -> SignedRevocations:
    return SignedRevocations(revocations=listed, signature=sign_document(listed, key, purpose=REVOCATIONS))


def test_genuine_lists_pass_and_answer() -> None:
    signed = SignedMembers.from_json(_members().model_dump_json())
    check_members(signed, AUTHORITY)
    assert signed.members.of_site("st_mary") == MEMBER
    assert signed.members.of_site("university") is None
    revoked = SignedRevocations.from_json(_revocations().model_dump_json())
    check_revocations(revoked, AUTHORITY)
    assert revoked.revocations.is_revoked("2b")
    assert not revoked.revocations.is_revoked("1a")


@pytest.mark.parametrize("field", ["site", "identity_key", "node_key", "certificate_serial", "certificate_fingerprint"])
def test_a_changed_member_is_noticed(field: str) -> None:
    other = {"site": "thief", "node_key": PEM.replace("AAAA", "BBBB"), "certificate_serial": "9"}.get(field, "4" * 64)
    changed = LIST.model_copy(update={"members": (MEMBER.model_copy(update={field: other}),)})
    with pytest.raises(EnrolmentRefusedError):
        check_members(_members().model_copy(update={"members": changed}), AUTHORITY)


def test_a_revocation_cannot_be_left_out() -> None:
    shorter = REVOKED.model_copy(update={"entries": ()})
    with pytest.raises(EnrolmentRefusedError):
        check_revocations(_revocations().model_copy(update={"revocations": shorter}), AUTHORITY)


def test_another_key_another_purpose_and_another_consortium_are_refused() -> None:
    other = SigningKey.generate()
    for signed in (
        _members(key=other),
        _members(purpose=REVOCATIONS),
        _members(LIST.model_copy(update={"consortium": "onco"})),
    ):
        with pytest.raises(EnrolmentRefusedError):
            check_members(signed, AUTHORITY)
    for revoked in (_revocations(key=other), _revocations(REVOKED.model_copy(update={"consortium": "onco"}))):
        with pytest.raises(EnrolmentRefusedError):
            check_revocations(revoked, AUTHORITY)


@pytest.mark.parametrize(
    ("offered", "passes"),
    [((4, "b"), True), ((3, "a"), True), ((3, "b"), False), ((2, "a"), False), ((1, "b"), False)],
)
def test_a_list_never_goes_back(offered: tuple[int, str], passes: bool) -> None:
    if passes:
        check_newer(installed=(3, "a"), offered=offered, what="a list")
        return
    with pytest.raises(EnrolmentRefusedError) as refused:
        check_newer(installed=(3, "a"), offered=offered, what="a list")
    assert refused.value.facts["reason"] == "rollback"
