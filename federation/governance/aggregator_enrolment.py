"""The documents between the consortium's authority and the aggregator's host.

The host makes its keys, asks for the gate's certificate, and gets it with the lists of members and revocations. No
token proves the request: the authority's officer compares its fingerprint by telephone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from federation.documents import Document
from federation.errors import EnrolmentRefusedError
from federation.governance.enrolment import (
    Authority,
    GateAddress,
    KeyProof,
    Pem,
    SignedMembers,
    SignedRevocations,
)
from federation.governance.enrolment_checks import KeyCheck
from federation.governance.member_lists import check_members, check_revocations
from federation.governance.signed import Signature, check_signature
from federation.identifiers import SiteId
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.signatures import verify

AGGREGATOR_ADMISSION: Final = "aggregator-admission"
COORDINATOR_PURPOSE: Final = "aggregator-claim"
_TAG: Final = b"cohortium/aggregator-enrolment/1\0"

HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$")]
"""A DNS name or an IP address of the gate."""


class AggregatorClaim(Document):
    """The public parts of the keys that the aggregator's host made."""

    consortium: SiteId
    coordinator_key: Hexadecimal
    """Ed25519; signs the coordinator's requests."""
    tls_request: Pem
    """PKCS #10 request for the gate's certificate. Only its key counts; its names are ignored."""

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits, for comparison by telephone."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()

    def transcript(self) -> bytes:
        """The bytes that the TLS key signs."""
        return _TAG + self.canonical_bytes()


class AggregatorRequest(Document):
    """A claim with a signature of each key."""

    claim: AggregatorClaim
    coordinator_proof: KeyProof
    tls_proof: KeyProof


class AggregatorAdmission(Document):
    """The authority's answer to the aggregator's host."""

    consortium: SiteId
    authority: Authority
    certificate: Pem
    names: Annotated[tuple[HostName, ...], Field(min_length=1, max_length=20)]
    gate: GateAddress
    coordinator_key: Hexadecimal
    expires: AwareDatetime


class SignedAggregatorAdmission(Document):
    """With the authority's signature, purpose ``aggregator-admission``, and the lists that are in force."""

    admission: AggregatorAdmission
    signature: Signature
    members: SignedMembers
    revocations: SignedRevocations


def check_aggregator_request(request: AggregatorRequest, *, consortium: str, tls: KeyCheck) -> None:
    """Check at the authority that the host holds the keys that it names.

    Raises:
        EnrolmentRefusedError: If it is for another consortium, or a proof does not hold.
    """
    claim = request.claim
    holds = {
        "coordinator": verify(
            claim.canonical_bytes(),
            purpose=COORDINATOR_PURPOSE,
            public_key=claim.coordinator_key,
            signature=request.coordinator_proof,
        ),
        "tls": tls(claim.tls_request, claim.transcript(), request.tls_proof),
    }
    if claim.consortium != consortium:
        raise EnrolmentRefusedError(
            f"expected a request for consortium {consortium}, got one for {claim.consortium}",
            remedy="make the request for this consortium",
            reason="consortium",
        )
    for key, genuine in holds.items():
        if not genuine:
            raise EnrolmentRefusedError(
                f"expected a signature of the aggregator's {key} key over its request, it does not hold",
                remedy="the request was changed: ask the aggregator's host to make it again",
                reason=f"{key}_proof",
            )


def check_aggregator_admission(
    signed: SignedAggregatorAdmission, *, consortium: str, coordinator_key: str, fingerprint: str, now: dt.datetime
) -> None:
    """Check at the aggregator's host that an admission is the right authority's, for its own key, and still valid.

    Args:
        signed: As it arrived.
        consortium: The host's.
        coordinator_key: Of the host itself.
        fingerprint: The authority's, compared by telephone or pinned before.
        now: With time zone.

    Raises:
        EnrolmentRefusedError: If it is not.
    """
    admission = signed.admission
    authority = admission.authority
    expected = {
        "authority": (fingerprint, authority.fingerprint),
        "consortium": (consortium, admission.consortium),
        "authority's consortium": (consortium, authority.consortium),
        "coordinator key": (coordinator_key, admission.coordinator_key),
    }
    for name, (due, got) in expected.items():
        if due != got:
            raise EnrolmentRefusedError(
                f"expected an admission for {name} {due[:16]}, got {got[:16]}",
                remedy="install the answer to this host's own request; compare fingerprints by telephone",
                reason=name.replace(" ", "_"),
            )
    check_signature(
        admission,
        signed.signature,
        purpose=AGGREGATOR_ADMISSION,
        public_key=authority.public_key,
        signer="the consortium's authority",
        error=EnrolmentRefusedError,
    )
    check_members(signed.members, authority)
    check_revocations(signed.revocations, authority)
    if now >= admission.expires:
        raise EnrolmentRefusedError(
            f"expected an admission that is still valid, it expired at {admission.expires.isoformat(timespec='minutes')}",
            remedy="ask the authority for a new certificate; check this machine's clock",
            reason="expired",
        )
