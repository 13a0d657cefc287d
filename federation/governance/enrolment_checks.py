"""Proofs and checks of enrolment, as pure functions: time, tokens and keys are arguments.

Every proof covers the whole claim and says for which of the keys it is, so that keys cannot be swapped and a proof for one
request is worth nothing for another. ECDSA is verified by the caller's function: certificates have other homes.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Callable
from typing import Final, Literal

from federation.errors import CohortiumError, EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import (
    Authority,
    EnrolmentRequest,
    Invitation,
    KeyProofs,
    SignedAdmission,
    SiteClaim,
)
from federation.governance.fingerprints import check_spoken
from federation.governance.signed import check_signature
from federation.protocol.secure_sum.key_agreement import open_sealed, seal
from federation.protocol.signatures import verify

ADMISSION: Final = "admission"
IDENTITY_PURPOSE: Final = "enrolment-claim"

Role = Literal["token", "tls", "node"]
KeyCheck = Callable[[str, bytes, str], bool]
"""(PEM of a public key or certificate request, content, signature in hexadecimal) to whether it is genuine."""

_TAG: Final = b"cohortium/enrolment/1\0"
_TOKEN_BYTES: Final = 32


def token_of(secret: bytes) -> str:
    """The text of a token.

    Args:
        secret: 32 bytes of the operating system's randomness.
    """
    if len(secret) != _TOKEN_BYTES:
        raise InvalidInputError(f"expected a token of {_TOKEN_BYTES} bytes, got {len(secret)}")
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def token_digest(token: str) -> str:
    """What the authority keeps of a token: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def transcript(claim: SiteClaim, role: Role) -> bytes:
    """The bytes that a proof covers: its role and the whole claim."""
    return _TAG + role.encode() + b"\0" + claim.canonical_bytes()


def prove_token(claim: SiteClaim, token: str) -> str:
    """HMAC-SHA256 of the transcript under the token, 64 hexadecimal digits."""
    return hmac.new(token.encode(), transcript(claim, "token"), hashlib.sha256).hexdigest()


def seal_token(claim: SiteClaim, token: str, authority: Authority) -> str:
    """The token, readable for the authority only and only as part of this claim; hexadecimal."""
    return seal(
        token.encode(),
        to=bytes.fromhex(authority.sealing_key),
        info=hashlib.sha256(transcript(claim, "token")).digest(),
    ).hex()


def open_token(request: EnrolmentRequest, *, private: bytes) -> str:
    """The token inside a request.

    Args:
        request: As it arrived.
        private: The authority's 32 secret bytes of X25519.

    Raises:
        EnrolmentRefusedError: If it was sealed to another authority or for another claim.
    """
    info = hashlib.sha256(transcript(request.claim, "token")).digest()
    opened = open_sealed(bytes.fromhex(request.sealed_token), private=private, info=info)
    if opened is None or not opened.isascii():
        raise _refused(
            "expected a request sealed to this authority, got one that does not open",
            "it was changed on its way, or made from another consortium's invitation: ask the site for the original",
            reason="token",
        )
    return opened.decode()


def check_invitation(invitation: Invitation, *, now: dt.datetime, spoken: str | None = None) -> None:
    """Check an invitation at the site, before any key is made.

    Args:
        invitation: As it arrived.
        now: With time zone.
        spoken: The authority's fingerprint as the site heard it by telephone, if it was given.

    Raises:
        EnrolmentRefusedError: If it contradicts itself, has expired, or is another authority's.
    """
    authority = invitation.authority
    if authority.fingerprint != invitation.authority_fingerprint or authority.consortium != invitation.consortium:
        raise _refused(
            "expected an invitation whose fingerprint is that of its authority, they differ",
            "it was changed on its way: ask the consortium for a new invitation",
            reason="authority",
        )
    if now >= invitation.expires:
        raise _refused(
            f"expected an invitation that is still valid, it expired at {invitation.expires.isoformat(timespec='minutes')}",
            "ask the consortium for a new invitation; check this machine's clock",
            reason="expired",
        )
    if spoken is not None:
        check_spoken(authority.fingerprint, spoken, what="the authority")


def check_token(request: EnrolmentRequest, token: str) -> None:
    """Check that whoever made the request holds the token.

    Raises:
        EnrolmentRefusedError: If the HMAC is another.
    """
    if not hmac.compare_digest(prove_token(request.claim, token), request.token_proof):
        raise _refused(
            "expected a proof made with the invitation's token, it does not hold",
            "the request was changed after it was made: ask the site for the original",
            reason="token_proof",
        )


def check_keys(claim: SiteClaim, proofs: KeyProofs, *, tls: KeyCheck, node: KeyCheck) -> None:
    """Check that the site holds every key that it names, in the role in which it names it.

    Raises:
        EnrolmentRefusedError: Naming the key whose proof does not hold.
    """
    holds = {
        "identity": verify(
            claim.canonical_bytes(),
            purpose=IDENTITY_PURPOSE,
            public_key=claim.identity_key,
            signature=proofs.identity,
        ),
        "tls": tls(claim.tls_request, transcript(claim, "tls"), proofs.tls),
        "node": node(claim.node_key, transcript(claim, "node"), proofs.node),
    }
    for key, genuine in holds.items():
        if not genuine:
            raise _refused(
                f"expected a signature of the site's {key} key over its request, it does not hold",
                "the request was changed, or its keys were swapped: ask the site to make it again",
                reason=f"{key}_proof",
            )


def check_claim_names(claim: SiteClaim, *, authority: Authority, site: str) -> None:
    """Check that a claim is for this authority and for the site that the register, not the claim, says it must be.

    Raises:
        EnrolmentRefusedError: If it is not.
    """
    expected = {
        "consortium": (authority.consortium, claim.consortium),
        "authority": (authority.fingerprint, claim.authority_fingerprint),
        "site": (site, claim.site),
    }
    for name, (due, got) in expected.items():
        if due != got:
            raise _refused(
                f"expected a request for {name} {due}, got one for {got}",
                "an invitation is for one site of one consortium: ask the site to enrol with its own",
                reason=name,
            )


def check_admission(signed: SignedAdmission, claim: SiteClaim, *, fingerprint: str, now: dt.datetime) -> None:
    """Check at the site that an admission is the pinned authority's answer to this site's own claim.

    The certificate itself is checked by the site's keystore.

    Args:
        signed: As it arrived.
        claim: What the site claims: names and its own keys.
        fingerprint: The authority's, from the invitation or from ``site.json``.
        now: With time zone.

    Raises:
        EnrolmentRefusedError: If it is another authority's, another site's, for other keys, or expired.
    """
    admission = signed.admission
    authority = admission.authority
    if authority.fingerprint != fingerprint:
        raise _refused(
            f"expected an admission by the authority {fingerprint[:16]}…, got one by {authority.fingerprint[:16]}…",
            "do not install it: telephone the consortium and compare fingerprints",
            reason="authority",
        )
    check_signature(
        admission,
        signed.signature,
        purpose=ADMISSION,
        public_key=authority.public_key,
        signer="the consortium's authority",
        error=EnrolmentRefusedError,
    )
    expected = {
        "consortium": (claim.consortium, admission.consortium),
        "site": (claim.site, admission.site),
        "identity key": (claim.identity_key, admission.identity_key),
        "node key": (claim.node_key, admission.node_key),
        "authority's consortium": (claim.consortium, authority.consortium),
    }
    for name, (due, got) in expected.items():
        if due != got:
            raise _refused(
                f"expected an admission for this site's {name}, got another's",
                "install the answer to this site's own request; if its keys were replaced since, enrol again",
                reason=name.replace(" ", "_"),
            )
    if now >= admission.expires:
        raise _refused(
            f"expected an admission that is still valid, it expired at {admission.expires.isoformat(timespec='minutes')}",
            "ask the consortium for a new invitation; check this machine's clock",
            reason="expired",
        )


def _refused(message: str, remedy: str, *, reason: str) -> CohortiumError:
    return EnrolmentRefusedError(message, remedy=remedy, reason=reason)
