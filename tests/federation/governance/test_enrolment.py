"""Enrolment's documents and proofs: the genuine pass; every changed field, other role, token, authority and time is refused."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest

from federation.errors import CohortiumError, EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import Authority, EnrolmentRequest, Invitation, KeyProofs, SiteClaim
from federation.governance.enrolment_checks import (
    IDENTITY_PURPOSE,
    check_claim_names,
    check_invitation,
    check_keys,
    check_token,
    open_token,
    prove_token,
    seal_token,
    token_digest,
    token_of,
    transcript,
)
from federation.protocol.secure_sum.key_agreement import public_key
from federation.protocol.signatures import SigningKey

NOW = dt.datetime(2031, 5, 1, tzinfo=dt.UTC)
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SEALING = bytes(range(32))
IDENTITY = SigningKey.from_bytes(bytes([7]) * 32)
AUTHORITY = Authority(
    consortium="cardio",
    certificate=PEM,
    public_key=SigningKey.from_bytes(bytes([8]) * 32).public_key,
    sealing_key=public_key(SEALING).hex(),
)
TOKEN = token_of(bytes([9]) * 32)


def _claim(**changes: object) -> SiteClaim:
    data: dict[str, object] = {
        "consortium": "cardio",
        "site": "st_mary",
        "authority_fingerprint": AUTHORITY.fingerprint,
        "identity_key": IDENTITY.public_key,
        "tls_request": PEM,
        "node_key": PEM.replace("AAAA", "BBBB"),
    }
    return SiteClaim.from_data(data | changes)


def _mac(pem: str, content: bytes, signature: str) -> bool:
    """Stands for ECDSA, which is the callers': any function of key and content."""
    return _seal(pem, content) == signature


def _seal(pem: str, content: bytes) -> str:
    return hashlib.sha256(pem.encode() + content).hexdigest()


def _proofs(claim: SiteClaim) -> KeyProofs:
    return KeyProofs(
        identity=IDENTITY.sign(claim.canonical_bytes(), purpose=IDENTITY_PURPOSE),
        tls=_seal(claim.tls_request, transcript(claim, "tls")),
        node=_seal(claim.node_key, transcript(claim, "node")),
    )


def _request(claim: SiteClaim | None = None) -> EnrolmentRequest:
    claim = claim or _claim()
    return EnrolmentRequest(
        claim=claim,
        sealed_token=seal_token(claim, TOKEN, AUTHORITY),
        token_proof=prove_token(claim, TOKEN),
        proofs=_proofs(claim),
    )


def _check(request: EnrolmentRequest) -> None:
    token = open_token(request, private=SEALING)
    assert token == TOKEN
    check_token(request, token)
    check_keys(request.claim, request.proofs, tls=_mac, node=_mac)
    check_claim_names(request.claim, authority=AUTHORITY, site="st_mary")


def _invitation(**changes: object) -> Invitation:
    data: dict[str, object] = {
        "consortium": "cardio",
        "site": "st_mary",
        "token": TOKEN,
        "expires": "2031-05-04T00:00:00Z",
        "authority": AUTHORITY.as_data(),
        "authority_fingerprint": AUTHORITY.fingerprint,
        "gate": "gate.example.org:8443",
    }
    return Invitation.from_data(data | changes)


def test_a_genuine_request_passes_and_survives_json() -> None:
    request = _request()
    _check(request)
    _check(EnrolmentRequest.from_json(request.model_dump_json(indent=1)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("consortium", "onco"),
        ("site", "st_mark"),
        ("authority_fingerprint", "0" * 64),
        ("identity_key", SigningKey.from_bytes(bytes([1]) * 32).public_key),
        ("tls_request", PEM.replace("AAAA", "AAAB")),
        ("node_key", PEM),
        ("replaces", "1a"),
    ],
)
def test_a_claim_changed_after_it_was_made_does_not_even_open(field: str, value: str) -> None:
    request = _request()
    changed = request.model_copy(update={"claim": _claim(**{field: value})})
    with pytest.raises(EnrolmentRefusedError) as refused:
        _check(changed)
    assert refused.value.facts["reason"] == "token"


@pytest.mark.parametrize("field", ["identity", "tls", "node"])
def test_every_proof_counts(field: str) -> None:
    request = _request()
    forged = request.proofs.model_copy(update={field: "00" * (64 if field == "identity" else 32)})
    with pytest.raises(EnrolmentRefusedError) as refused:
        _check(request.model_copy(update={"proofs": forged}))
    assert refused.value.facts["reason"] == f"{field}_proof"


def test_proofs_say_for_which_key_they_are() -> None:
    claim = _claim(node_key=PEM)  # the same key in both roles: even then the proofs differ
    proofs = _proofs(claim)
    swapped = KeyProofs(identity=proofs.identity, tls=proofs.node, node=proofs.tls)
    check_keys(claim, proofs, tls=_mac, node=_mac)
    with pytest.raises(EnrolmentRefusedError):
        check_keys(claim, swapped, tls=_mac, node=_mac)


def test_the_token_proof_is_the_hmac_of_the_transcript() -> None:
    import hmac

    claim = _claim()
    expected = hmac.new(TOKEN.encode(), transcript(claim, "token"), "sha256").hexdigest()
    assert prove_token(claim, TOKEN) == expected
    with pytest.raises(EnrolmentRefusedError):
        check_token(_request(), token_of(bytes(32)))


def test_a_request_shows_the_token_to_nobody_but_its_authority() -> None:
    request = _request()
    text = request.model_dump_json()
    assert TOKEN not in text
    assert token_digest(TOKEN) not in text
    with pytest.raises(EnrolmentRefusedError):
        open_token(request, private=bytes([3]) * 32)


@pytest.mark.parametrize(
    ("field", "due"), [("consortium", "onco"), ("site", "st_mark"), ("authority_fingerprint", "1" * 64)]
)
def test_names_are_the_registers(field: str, due: str) -> None:
    claim = _claim(**{field: due})
    with pytest.raises(EnrolmentRefusedError) as refused:
        check_claim_names(claim, authority=AUTHORITY, site="st_mary")
    assert refused.value.facts["reason"] == {"authority_fingerprint": "authority"}.get(field, field)


def test_an_invitation_holds_until_it_expires() -> None:
    invitation = _invitation()
    check_invitation(invitation, now=invitation.expires - dt.timedelta(seconds=1), spoken=AUTHORITY.fingerprint)
    with pytest.raises(EnrolmentRefusedError) as refused:
        check_invitation(invitation, now=invitation.expires)
    assert refused.value.facts["reason"] == "expired"


def test_an_invitation_of_another_authority_is_noticed() -> None:
    other = AUTHORITY.model_copy(update={"public_key": "0" * 64})
    with pytest.raises(EnrolmentRefusedError):  # its parts contradict each other
        check_invitation(_invitation(authority=other.as_data()), now=NOW)
    whole = _invitation(authority=other.as_data(), authority_fingerprint=other.fingerprint)
    check_invitation(whole, now=NOW)  # consistent: only people can notice
    with pytest.raises(EnrolmentRefusedError):
        check_invitation(whole, now=NOW, spoken=AUTHORITY.fingerprint)


def test_the_authoritys_fingerprint_covers_every_key() -> None:
    changed = [
        AUTHORITY.model_copy(update={name: value})
        for name, value in (
            ("consortium", "onco"),
            ("certificate", PEM.replace("AAAA", "AAAB")),
            ("public_key", "0" * 64),
            ("sealing_key", "0" * 64),
        )
    ]
    assert len({AUTHORITY.fingerprint, *(other.fingerprint for other in changed)}) == 5


def test_no_message_and_no_repr_shows_a_token() -> None:
    broken = _invitation().model_dump_json().replace(TOKEN, TOKEN + "x").replace("8443", "gate")
    with pytest.raises(CohortiumError) as refused:
        Invitation.from_json(broken)
    assert "token" in str(refused.value)
    assert TOKEN[:8] not in str(refused.value)
    assert refused.value.__cause__ is None
    assert TOKEN[:8] not in repr(_invitation())


def test_tokens_have_32_bytes() -> None:
    assert len(TOKEN) == 43
    with pytest.raises(InvalidInputError):
        token_of(bytes(16))
