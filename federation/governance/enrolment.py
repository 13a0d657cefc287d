"""The documents of enrolment: what travels between the consortium's authority, its sites and the aggregator's host.

How a site becomes a member: the authority invites (:class:`Invitation`, with a secret token), the site makes its own
keys and asks (:class:`EnrolmentRequest`), the authority admits (:class:`SignedAdmission`). The aggregator's host learns who
is a member, and which certificates are not valid any more, from :class:`SignedMembers` and :class:`SignedRevocations`.
Proofs and checks are in :mod:`federation.governance.enrolment_checks` and :mod:`federation.governance.member_lists`.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, Field, ValidationError

from federation.documents import Document
from federation.errors import CohortiumError, EnrolmentRefusedError
from federation.governance.signed import Signature
from federation.identifiers import SiteId
from federation.protocol.ledger_head import Hexadecimal

MOST_MEMBERS: Final = 1000
LARGEST_DOCUMENT: Final = 4 * 1024 * 1024
"""Bytes of a received document of enrolment, at most."""

GateAddress = Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}$")]
"""``host:port`` of the gate; an IPv6 address in brackets."""
Pem = Annotated[
    str, Field(pattern=r"^-----BEGIN [A-Z ]+-----\n[A-Za-z0-9+/=\n]+-----END [A-Z ]+-----\n$", max_length=8192)
]
"""One certificate, request or public key as text."""
Serial = Annotated[str, Field(pattern=r"^[1-9a-f][0-9a-f]{0,39}$")]
"""A certificate's serial number, hexadecimal: ``f"{certificate.serial_number:x}"``."""
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""32 secret bytes as URL-safe text."""
Number = Annotated[int, Field(ge=1, lt=2**53)]
"""Of a list: every new one has a higher number, so that an old one is recognised."""
KeyProof = Annotated[str, Field(pattern=r"^[0-9a-f]{16,300}$")]
"""A signature in hexadecimal: 64 bytes of Ed25519, or DER of ECDSA."""


class Authority(Document):
    """Who the consortium's authority is. Its digest is the fingerprint that people compare by telephone."""

    consortium: SiteId
    certificate: Pem
    """P-256 certificate that signs the certificates of sites and of the gate."""
    public_key: Hexadecimal
    """Ed25519 key that signs admissions and lists."""
    sealing_key: Hexadecimal
    """X25519 key to which a site seals its token."""

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits over certificate and keys."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()


class Invitation(Document):
    """What the authority sends to a site. Secret: whoever has the token can enrol in the site's place."""

    consortium: SiteId
    site: SiteId
    token: Annotated[Token, Field(repr=False)]
    expires: AwareDatetime
    authority: Authority
    authority_fingerprint: Hexadecimal
    gate: GateAddress

    @classmethod
    def from_json(cls, text: str | bytes, *, error: type[CohortiumError] = EnrolmentRefusedError) -> Self:
        """Build from JSON text; other than in any other document, no value of a bad one is shown."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as failure:
            places = sorted(
                {str(problem["loc"][0]) for problem in failure.errors(include_input=False) if problem["loc"]}
            )
            raise error(
                f"expected an invitation, got a file that is wrong or damaged at: {', '.join(places) or 'its beginning'}",
                remedy="ask the consortium for the original file",
            ) from None


class SiteClaim(Document):
    """What a site says about itself: its name and the public parts of the keys that it made."""

    consortium: SiteId
    site: SiteId
    authority_fingerprint: Hexadecimal
    identity_key: Hexadecimal
    """Ed25519; the roster's ``public_key``."""
    tls_request: Pem
    """PKCS #10 request for the gateway's certificate. Only its key counts; its names are ignored."""
    node_key: Pem
    """P-384, SubjectPublicKeyInfo, exactly the text that Flower sends and registers."""
    replaces: Serial | None = None
    """In a renewal, the serial number of the certificate it replaces."""

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits, for comparison by telephone."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()


class KeyProofs(Document):
    """Signatures of each key over the transcript: the site holds the private part of every key it names."""

    identity: KeyProof
    tls: KeyProof
    node: KeyProof


class EnrolmentRequest(Document):
    """A site's answer to an invitation. Holds no secret that others can read."""

    claim: SiteClaim
    sealed_token: Annotated[str, Field(pattern=r"^[0-9a-f]{182}$")]
    """The token, encrypted to the authority: it keeps a hash only, and needs the token to check the next field."""
    token_proof: Hexadecimal
    """HMAC-SHA256 of the transcript under the token."""
    proofs: KeyProofs


class RenewalRequest(Document):
    """A member asks for its next certificate. Proven by the identity key that the authority knows."""

    claim: SiteClaim
    proofs: KeyProofs


class Admission(Document):
    """The authority's answer: the site is a member."""

    consortium: SiteId
    site: SiteId
    authority: Authority
    certificate: Pem
    identity_key: Hexadecimal
    node_key: Pem
    coordinator_key: Hexadecimal
    gate: GateAddress
    expires: AwareDatetime
    """When the certificate does."""


class SignedAdmission(Document):
    """With the authority's signature, purpose ``admission``."""

    admission: Admission
    signature: Signature


class Member(Document):
    """One site that may connect."""

    site: SiteId
    identity_key: Hexadecimal
    node_key: Pem
    certificate_serial: Serial
    certificate_fingerprint: Hexadecimal
    """SHA-256 of the certificate's DER."""
    expires: AwareDatetime


class Members(Document):
    """Who belongs to the consortium, as of one moment. ``members.json`` at the aggregator is a :class:`SignedMembers`."""

    consortium: SiteId
    number: Number
    members: Annotated[tuple[Member, ...], Field(max_length=MOST_MEMBERS)]

    def of_site(self, site: str) -> Member | None:
        """The member of that name, if it is one."""
        return next((member for member in self.members if member.site == site), None)


class SignedMembers(Document):
    """With the authority's signature, purpose ``members``."""

    members: Members
    signature: Signature


class RevokedCertificate(Document):
    """One certificate that is refused from now on."""

    site: SiteId
    serial: Serial
    since: AwareDatetime


class Revocations(Document):
    """All revoked certificates. ``revocations.json`` at the aggregator is a :class:`SignedRevocations`."""

    consortium: SiteId
    number: Number
    entries: Annotated[tuple[RevokedCertificate, ...], Field(max_length=10 * MOST_MEMBERS)]

    def is_revoked(self, serial: str) -> bool:
        """Whether the certificate of this serial number is refused."""
        return any(entry.serial == serial for entry in self.entries)


class SignedRevocations(Document):
    """With the authority's signature, purpose ``revocations``."""

    revocations: Revocations
    signature: Signature
