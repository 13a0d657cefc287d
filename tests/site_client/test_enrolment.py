"""A site enrols: its keys are made once and stay, and it installs only its own authority's answer to its own request."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aggregator.authority.certificates import issue_for_site
from federation.errors import CohortiumError, EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import Admission, SignedAdmission
from federation.governance.enrolment_checks import ADMISSION
from federation.governance.signed import sign_document
from site_client import enrolment
from site_client.site_home import SiteHome
from tests.small_consortium import DAY, GATE, HOUR, SmallConsortium


@pytest.fixture
def consortium(tmp_path: Path) -> SmallConsortium:
    return SmallConsortium(tmp_path)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _refusal(consortium: SmallConsortium, signed: SignedAdmission, *, site: str = "st_mary") -> str:
    layout = consortium.site(site)
    before = _contents(layout.folder)
    with pytest.raises(EnrolmentRefusedError) as refused:
        consortium.install(site, signed)
    assert _contents(layout.folder) == before  # nothing was installed, not even a part
    return str(refused.value.facts.get("reason", "signature"))


def _resigned(by: SmallConsortium, signed: SignedAdmission, **changes: object) -> SignedAdmission:
    """What a careless authority might sign."""
    admission: Admission = signed.admission.model_copy(update=changes)
    return SignedAdmission(admission=admission, signature=sign_document(admission, by.keys.signing, purpose=ADMISSION))


def test_an_enrolled_site_knows_where_it_belongs(consortium: SmallConsortium) -> None:
    consortium.enrol("st_mary")
    layout = consortium.site("st_mary")
    assert layout.read() == SiteHome(
        consortium="cardio",
        site="st_mary",
        gate=GATE,
        coordinator_key=_coordinator_key(consortium),
        authority_fingerprint=consortium.office.authority.fingerprint,
    )
    assert layout.authority_certificate.read_text() == consortium.office.authority.certificate


def _coordinator_key(consortium: SmallConsortium) -> str:
    assert consortium.gate_admission is not None
    return consortium.gate_admission.admission.coordinator_key


def test_secrets_are_for_their_owner_only_whatever_the_umask(consortium: SmallConsortium) -> None:
    before = os.umask(0)
    try:
        consortium.request("st_mary")
        layout = consortium.site("st_mary")
        for path in (layout.identity_key, layout.node_key, layout.tls_key, layout.invitation):
            assert path.stat().st_mode & 0o777 == 0o600, path
        for folder in (layout.folder, layout.gateway):
            assert folder.stat().st_mode & 0o777 == 0o700, folder
    finally:
        os.umask(before)


def test_asking_again_gives_the_same_keys_and_fingerprint(consortium: SmallConsortium) -> None:
    invitation = consortium.invite("st_mary")
    first = consortium.request("st_mary", invitation=invitation)
    kept = _contents(consortium.site("st_mary").folder)
    second = consortium.request("st_mary", invitation=invitation)
    assert first.claim == second.claim
    assert _contents(consortium.site("st_mary").folder) == kept
    consortium.install("st_mary", consortium.admit(second))  # either of them counts, once


def test_nothing_private_is_in_a_request(consortium: SmallConsortium) -> None:
    invitation = consortium.invite("st_mary")
    text = consortium.request("st_mary", invitation=invitation).model_dump_json()
    layout = consortium.site("st_mary")
    assert "PRIVATE" not in text
    assert invitation.token not in text
    assert layout.identity_key.read_bytes().hex() not in text


def test_the_token_is_forgotten_when_the_site_is_a_member(consortium: SmallConsortium) -> None:
    invitation = consortium.invite("st_mary")
    request = consortium.request("st_mary", invitation=invitation)
    consortium.install("st_mary", consortium.admit(request))
    assert all(
        invitation.token.encode() not in content for content in _contents(consortium.site("st_mary").folder).values()
    )


def test_an_admission_can_be_installed_again(consortium: SmallConsortium) -> None:
    signed = consortium.enrol("st_mary")
    before = _contents(consortium.site("st_mary").folder)
    consortium.install("st_mary", signed)
    assert _contents(consortium.site("st_mary").folder) == before


def test_the_admission_of_another_site_is_refused(consortium: SmallConsortium) -> None:
    consortium.request("st_mary")
    assert _refusal(consortium, consortium.enrol("university")) == "site"


def test_an_admission_by_another_authority_is_refused(consortium: SmallConsortium, tmp_path: Path) -> None:
    request = consortium.request("st_mary")
    other = SmallConsortium(tmp_path / "other")  # the same names, other keys
    pretender = other.admit(enrolment.request_enrolment(other.site("st_mary"), other.invite("st_mary"), now=other.now))
    assert _refusal(consortium, pretender) == "authority"
    genuine = consortium.admit(request)
    mixed = pretender.model_copy(
        update={"admission": pretender.admission.model_copy(update={"authority": genuine.admission.authority})}
    )
    assert _refusal(consortium, mixed) == "signature"
    consortium.install("st_mary", genuine)


def test_every_field_of_an_admission_is_checked_or_signed(consortium: SmallConsortium, tmp_path: Path) -> None:
    signed = consortium.admit(consortium.request("st_mary"))
    university = consortium.enrol("university").admission
    changes: dict[str, object] = {
        "consortium": "onco",
        "site": "university",
        "certificate": university.certificate,
        "identity_key": university.identity_key,
        "node_key": university.node_key,
        "coordinator_key": "0" * 64,
        "gate": "evil.example.org:443",
        "expires": signed.admission.expires + DAY,
    }
    for name, value in changes.items():
        changed = signed.admission.model_copy(update={name: value})
        assert _refusal(consortium, signed.model_copy(update={"admission": changed})) == "signature", name
    # Also what the authority did sign is compared with the certificate and the site's own keys.
    for name in ("consortium", "site", "certificate", "identity_key", "node_key", "expires"):
        _refusal(consortium, _resigned(consortium, signed, **{name: changes[name]}))


@pytest.mark.parametrize(
    ("key_of", "name", "reason"),
    [("university", "st_mary", "tls_key"), ("st_mary", "university", "certificate_name"), ("st_mary", "st_mary", "")],
)
def test_a_certificate_is_for_this_sites_key_and_name(
    key_of: str, name: str, reason: str, consortium: SmallConsortium
) -> None:
    signed = consortium.admit(consortium.request("st_mary"))
    issued = issue_for_site(
        consortium.request(key_of).claim.tls_request,
        consortium="cardio",
        site=name,
        authority=consortium.office.authority.certificate,
        key=consortium.keys.certification,
        now=consortium.now,
    )
    other = _resigned(consortium, signed, certificate=issued.pem, expires=issued.expires)
    if reason:
        assert _refusal(consortium, other) == reason
    else:
        consortium.install("st_mary", other)


def test_an_expired_admission_and_an_old_one_are_refused(consortium: SmallConsortium) -> None:
    old = consortium.enrol("st_mary")
    consortium.now += 60 * DAY
    consortium.install("st_mary", consortium.renew("st_mary"))
    assert _refusal(consortium, old) == "tls_key"  # the renewed key replaced it
    consortium.now += 91 * DAY
    assert _refusal(consortium, old) == "expired"


def test_a_crash_while_a_renewal_is_installed_is_healed_by_repeating(consortium: SmallConsortium) -> None:
    consortium.enrol("st_mary")
    signed = consortium.renew("st_mary")
    layout = consortium.site("st_mary")
    layout.tls_certificate.write_text(signed.admission.certificate)  # the crash: certificate new, key old
    consortium.install("st_mary", signed)
    assert not layout.next_tls_key.exists()
    consortium.install("st_mary", signed)


def test_a_renewal_can_be_asked_for_again(consortium: SmallConsortium) -> None:
    consortium.enrol("st_mary")
    layout = consortium.site("st_mary")
    assert enrolment.request_renewal(layout) == enrolment.request_renewal(layout)


def test_an_invitation_that_expired_or_is_not_the_one_read_out_makes_no_keys(consortium: SmallConsortium) -> None:
    invitation = consortium.invite("st_mary")
    layout = consortium.site("st_mary")
    with pytest.raises(EnrolmentRefusedError):
        enrolment.request_enrolment(layout, invitation, now=consortium.now, heard="0" * 32)
    with pytest.raises(EnrolmentRefusedError):
        enrolment.request_enrolment(layout, invitation, now=consortium.now + 73 * HOUR)
    assert not layout.folder.exists()


def test_a_folder_is_of_one_site_of_one_authority(consortium: SmallConsortium, tmp_path: Path) -> None:
    consortium.enrol("st_mary")
    layout = consortium.site("st_mary")
    other = SmallConsortium(tmp_path / "other")
    for invitation in (consortium.invite("university"), other.invite("st_mary")):
        with pytest.raises(CohortiumError):
            enrolment.request_enrolment(layout, invitation, now=consortium.now)
    assert layout.read().authority_fingerprint == consortium.office.authority.fingerprint


def test_who_never_asked_installs_and_renews_nothing(consortium: SmallConsortium) -> None:
    signed = consortium.enrol("st_mary")
    with pytest.raises(InvalidInputError):
        consortium.install("nowhere", signed)
    with pytest.raises(InvalidInputError):
        enrolment.request_renewal(consortium.site("nowhere"))
    assert not consortium.site("nowhere").folder.exists()
