"""How the aggregator's host becomes the consortium's: its keys, its request to the authority, and what it installs.

The authority's fingerprint is compared by telephone once and pinned. From then on every list must be signed by that authority,
and a list older than the one in force is refused.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from aggregator.authority.certificates import is_key_of, verify_server
from aggregator.authority.list_files import replace_members, replace_revocations
from aggregator.host.home_paths import HostLayout
from conf.received_files import read_bounded, read_received
from federation.durable_files import write_durably
from federation.errors import EnrolmentRefusedError, InvalidInputError
from federation.governance.aggregator_enrolment import (
    COORDINATOR_PURPOSE,
    AggregatorClaim,
    AggregatorRequest,
    SignedAggregatorAdmission,
    check_aggregator_admission,
)
from federation.governance.enrolment import Authority, SignedMembers, SignedRevocations
from federation.governance.fingerprints import check_spoken
from federation.protocol.signatures import SigningKey

_KEY_BYTES: Final = 32
_LARGEST_KEY: Final = 16 * 1024
_PRIVATE_FOLDER: Final = 0o700


def make_request(layout: HostLayout, consortium: str) -> AggregatorRequest:
    """Make the host's keys, if there are none, and ask for the gate's certificate. The same keys give the same request.

    Args:
        layout: The host's folder.
        consortium: Short name.

    Raises:
        InvalidInputError: If a key file holds something else.
    """
    if not layout.folder.is_dir():
        layout.folder.mkdir(mode=_PRIVATE_FOLDER, parents=True)
    coordinator, tls = coordinator_key(layout), _tls_key(layout.tls_key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cohortium gate")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    claim = AggregatorClaim.from_data(
        {
            "consortium": consortium,
            "coordinator_key": coordinator.public_key,
            "tls_request": builder.sign(tls, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.PEM).decode(),
        },
        error=InvalidInputError,
    )
    return AggregatorRequest(
        claim=claim,
        coordinator_proof=coordinator.sign(claim.canonical_bytes(), purpose=COORDINATOR_PURPOSE),
        tls_proof=tls.sign(claim.transcript(), ec.ECDSA(SHA256(), deterministic_signing=True)).hex(),
    )


def coordinator_key(layout: HostLayout) -> SigningKey:
    """The coordinator's Ed25519 key, made if there is none."""
    content = _find_or_make(layout.coordinator_key, lambda: SigningKey.generate().to_bytes())
    if len(content) != _KEY_BYTES:
        raise InvalidInputError(
            f"expected a signing key of {_KEY_BYTES} bytes in {layout.coordinator_key}, got {len(content)} bytes",
            remedy="put the coordinator's key back: sites know its public part",
        )
    return SigningKey.from_bytes(content)


def install_admission(
    layout: HostLayout, signed: SignedAggregatorAdmission, *, heard: str | None, now: dt.datetime
) -> Authority:
    """Install the gate's certificate, pin the authority, and take its lists over.

    Args:
        layout: The host's folder.
        signed: As it arrived.
        heard: The authority's fingerprint as its officer read it out. May be left out once the authority is pinned.
        now: With time zone.

    Raises:
        EnrolmentRefusedError: If it is of another authority, for other keys, expired, or its lists are older.
        InvalidInputError: If no fingerprint was given and none is pinned.
    """
    admission = signed.admission
    authority = admission.authority
    pinned = pinned_authority(layout) if layout.authority.exists() else None
    if heard is not None:
        check_spoken(authority.fingerprint, heard, what="the authority")
    elif pinned is None:
        raise InvalidInputError(
            "expected the authority's fingerprint with its first admission, got none",
            remedy="telephone the authority's officer and give what they read out with --fingerprint",
        )
    check_aggregator_admission(
        signed,
        consortium=admission.consortium if pinned is None else pinned.consortium,
        coordinator_key=coordinator_key(layout).public_key,
        fingerprint=authority.fingerprint if pinned is None else pinned.fingerprint,
        now=now,
    )
    verify_server(admission.certificate, names=admission.names, authority=authority.certificate, now=now)
    if not is_key_of(admission.certificate, _tls_key(layout.tls_key)):
        raise EnrolmentRefusedError(
            "expected a certificate for this host's TLS key, got one for another",
            remedy="install the answer to this host's own request",
            reason="tls_key",
        )
    write_durably(layout.authority, authority.model_dump_json(indent=1).encode())
    write_durably(layout.authority_certificate, authority.certificate.encode())
    write_durably(layout.tls_certificate, admission.certificate.encode())
    # The lists are those of the day of the admission: newer ones that were installed since stay in force.
    if _revocations_number(layout) < signed.revocations.revocations.number:
        install_revocations(layout, signed.revocations)
    if _members_number(layout) < signed.members.members.number:
        install_members(layout, signed.members)
    return authority


def install_members(layout: HostLayout, signed: SignedMembers) -> None:
    """Replace the list of members by a newer one of the pinned authority; the very same one changes nothing.

    Raises:
        EnrolmentRefusedError: If it is another authority's, or older than the one in force.
    """
    replace_members(layout.members, signed, pinned_authority(layout))


def install_revocations(layout: HostLayout, signed: SignedRevocations) -> None:
    """Replace the list of revocations. See :func:`install_members`."""
    replace_revocations(layout.revocations, signed, pinned_authority(layout))


def pinned_authority(layout: HostLayout) -> Authority:
    """The authority that this host was made part of.

    Raises:
        InvalidInputError: If none is pinned yet.
    """
    return read_received(layout.authority, Authority, error=InvalidInputError)


def _members_number(layout: HostLayout) -> int:
    return read_received(layout.members, SignedMembers).members.number if layout.members.exists() else 0


def _revocations_number(layout: HostLayout) -> int:
    if not layout.revocations.exists():
        return 0
    return read_received(layout.revocations, SignedRevocations).revocations.number


def _tls_key(path: Path) -> ec.EllipticCurvePrivateKey:
    content = _find_or_make(
        path,
        lambda: ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    )
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as failure:
        raise _not_a_key(path) from failure
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _not_a_key(path)
    return key


def _find_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            write_durably(temporary, make(), secret=True)
            with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return read_bounded(path, largest=_LARGEST_KEY)


def _not_a_key(path: Path) -> InvalidInputError:
    return InvalidInputError(
        f"expected a P-256 private key in {path}, got something else",
        remedy="put the gate's key back, or move the file away and have a new one certified",
    )
