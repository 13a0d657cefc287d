"""Renewal and revocation: the identity key renews, once per certificate; a revoked site and its keys never return."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.authority import enrolling, member_lists
from aggregator.authority.certificates import read_client
from federation.errors import EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import RenewalRequest
from federation.protocol.signatures import SigningKey
from site_client.enrolment import request_renewal
from tests.small_consortium import DAY, SmallConsortium


@pytest.fixture
def consortium(tmp_path: Path) -> SmallConsortium:
    made = SmallConsortium(tmp_path)
    made.enrol("st_mary")
    made.enrol("university")
    made.now += 60 * DAY
    return made


def _refusal(consortium: SmallConsortium, request: RenewalRequest) -> str:
    with pytest.raises(EnrolmentRefusedError) as refused:
        enrolling.renew(consortium.office, consortium.keys, request, now=consortium.now)
    return str(refused.value.facts["reason"])


def test_a_member_renews_with_a_new_tls_key_and_the_same_identity(consortium: SmallConsortium) -> None:
    layout = consortium.site("st_mary")
    before, key = layout.tls_certificate.read_text(), layout.tls_key.read_bytes()
    signed = consortium.renew("st_mary")
    assert layout.tls_key.read_bytes() == key  # nothing changes before the answer is installed
    consortium.install("st_mary", signed)
    assert layout.tls_key.read_bytes() != key
    old, new = read_client(before.encode()), read_client(layout.tls_certificate.read_bytes())
    assert (old.site, old.serial != new.serial) == (new.site, True)
    assert (new.expires - old.expires) == 60 * DAY


def test_a_request_renews_one_certificate_once(consortium: SmallConsortium) -> None:
    request = request_renewal(consortium.site("st_mary"))
    enrolling.renew(consortium.office, consortium.keys, request, now=consortium.now)
    assert _refusal(consortium, request) == "replaces"


def test_renewal_after_revocation_is_refused_and_so_are_the_old_keys(consortium: SmallConsortium) -> None:
    request = request_renewal(consortium.site("st_mary"))
    assert consortium.revoke("st_mary") == 1
    assert _refusal(consortium, request) == "revoked"
    with pytest.raises(EnrolmentRefusedError) as refused:
        consortium.admit(consortium.request("st_mary"))  # a new invitation, the keys that may be stolen
    assert refused.value.facts["reason"] == "revoked_key"


def test_a_revoked_site_returns_with_new_keys_only(consortium: SmallConsortium) -> None:
    consortium.revoke("st_mary")
    layout = consortium.site("st_mary")
    for path in (layout.identity_key, layout.node_key, layout.node_public_key, layout.tls_key):
        path.unlink()
    signed = consortium.enrol("st_mary")
    members = member_lists.signed_members(consortium.office, consortium.keys).members
    revocations = member_lists.signed_revocations(consortium.office, consortium.keys).revocations
    current = members.of_site("st_mary")
    assert current is not None
    assert current.identity_key == signed.admission.identity_key
    assert not revocations.is_revoked(current.certificate_serial)
    assert len(revocations.entries) == 1


def test_an_expired_certificate_is_not_renewed(consortium: SmallConsortium) -> None:
    request = request_renewal(consortium.site("st_mary"))
    consortium.now += 30 * DAY
    assert _refusal(consortium, request) == "expired"


def test_a_stranger_and_a_pretender_renew_nothing(consortium: SmallConsortium) -> None:
    request = request_renewal(consortium.site("university"))
    stranger = request.claim.model_copy(update={"site": "nowhere"})
    assert _refusal(consortium, request.model_copy(update={"claim": stranger})) == "identity_proof"
    # University signs, with its own keys, a claim to be St Mary: every proof holds, and the register knows better.
    site_file = consortium.site("university").site_file
    site_file.write_text(site_file.read_text().replace("university", "st_mary"))
    assert _refusal(consortium, request_renewal(consortium.site("university"))) == "identity_key"
    site_file.write_text(site_file.read_text().replace("st_mary", "nowhere"))
    assert _refusal(consortium, request_renewal(consortium.site("university"))) == "member"


def test_an_identity_key_alone_is_not_enough(consortium: SmallConsortium) -> None:
    layout = consortium.site("st_mary")
    layout.node_key.unlink()
    with pytest.raises(InvalidInputError):
        request_renewal(layout)
    layout.node_key.write_bytes(consortium.site("university").node_key.read_bytes())
    assert _refusal(consortium, request_renewal(layout)) == "identity_key"
    layout.identity_key.write_bytes(SigningKey.generate().to_bytes())
    assert _refusal(consortium, request_renewal(layout)) == "identity_key"


def test_revoking_covers_every_certificate_and_every_change_has_a_higher_number(consortium: SmallConsortium) -> None:
    def numbers() -> tuple[int, int]:
        members = member_lists.signed_members(consortium.office, consortium.keys).members
        revoked = member_lists.signed_revocations(consortium.office, consortium.keys).revocations
        return members.number, revoked.number

    seen = [numbers()]
    consortium.install("st_mary", consortium.renew("st_mary"))
    seen.append(numbers())
    assert consortium.revoke("st_mary") == 2
    seen.append(numbers())
    assert seen == [(3, 1), (4, 1), (6, 3)]
    assert consortium.revoke("st_mary") == 0  # again: nothing new, the same numbers
    assert numbers() == seen[-1]
    members = member_lists.signed_members(consortium.office, consortium.keys).members
    assert [member.site for member in members.members] == ["university"]
    states = {row.site: row.state for row in member_lists.site_states(consortium.office, now=consortium.now)}
    assert states == {"st_mary": "revoked", "university": "member"}
    with pytest.raises(InvalidInputError):
        consortium.revoke("nowhere")
