"""X.509 at the authority and at the gate. Home of ``cryptography.x509`` on this side.

The authority is a P-256 CA (``PolicyBuilder`` refuses Ed25519 authorities). Names in certificates come from the caller, who has
them from the register: from a certificate request nothing is taken but its key.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from aggregator.authority.key_proofs import request_key
from federation.errors import EnrolmentRefusedError, InvalidInputError

LIFETIME: Final = dt.timedelta(days=90)
"""Of a certificate of a site or of the gate."""
AUTHORITY_LIFETIME: Final = dt.timedelta(days=3650)
_CLOCKS_MAY_DIFFER: Final = dt.timedelta(hours=1)
_CLIENT_NAME: Final = re.compile(r"cohortium://(?P<consortium>[a-z0-9][a-z0-9_-]*)/site/(?P<site>[a-z0-9][a-z0-9_-]*)")

_MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_DNS_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9-]{1,63})*")


@dataclass(frozen=True)
class Issued:
    """A certificate that was just issued."""

    pem: str
    serial: str
    fingerprint: str
    """SHA-256 of its DER, hexadecimal."""
    expires: dt.datetime


@dataclass(frozen=True)
class Client:
    """Who a client certificate says it is. Only as good as its verification."""

    consortium: str
    site: str
    serial: str
    fingerprint: str
    expires: dt.datetime


def new_authority(consortium: str, *, now: dt.datetime) -> tuple[ec.EllipticCurvePrivateKey, str]:
    """A new CA: its P-256 key and its certificate in PEM, valid for ten years, for leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{consortium} authority")
    builder = (
        _begin(
            name, key.public_key(), issuer=name, issuer_key=key.public_key(), until=now + AUTHORITY_LIFETIME, now=now
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return key, builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def is_key_of(certificate: str, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether a private key is that of a certificate in PEM."""
    return x509.load_pem_x509_certificate(certificate.encode()).public_key() == key.public_key()


def client_name(consortium: str, site: str) -> str:
    """The name in a site's certificate."""
    return f"cohortium://{consortium}/site/{site}"


def issue_for_site(
    request: str, *, consortium: str, site: str, authority: str, key: ec.EllipticCurvePrivateKey, now: dt.datetime
) -> Issued:
    """A client certificate for the key of a request.

    Args:
        request: PEM of the certificate request. Its names and extensions are ignored.
        consortium: From the register.
        site: From the register.
        authority: The CA's certificate, PEM.
        key: The CA's key.
        now: With time zone.

    Raises:
        EnrolmentRefusedError: If the request is not a P-256 key that signed it.
    """
    san = [x509.UniformResourceIdentifier(client_name(consortium, site))]
    return _issue(
        request, f"site {site}"[:64], san, ExtendedKeyUsageOID.CLIENT_AUTH, authority=authority, key=key, now=now
    )


def issue_for_gate(
    request: str, *, names: Sequence[str], authority: str, key: ec.EllipticCurvePrivateKey, now: dt.datetime
) -> Issued:
    """A server certificate for DNS names and IP addresses that the officer named. See :func:`issue_for_site`."""
    for name in names:
        if not _address(name) and not _DNS_NAME.fullmatch(name):
            raise InvalidInputError(
                f"expected DNS names without wildcards, or IP addresses, got {name[:80]!r}",
                remedy="name the gate as sites will connect to it",
            )
    san = [_address(name) or x509.DNSName(name.lower()) for name in names]
    return _issue(
        request, "cohortium gate", san, ExtendedKeyUsageOID.SERVER_AUTH, authority=authority, key=key, now=now
    )


def read_client(certificate: bytes) -> Client:
    """Who a client certificate is for.

    Args:
        certificate: DER, as TLS hands it over, or PEM.

    Raises:
        EnrolmentRefusedError: If it names no site, or more than one.
    """
    try:
        is_pem = certificate.startswith(b"-----")
        read = (x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate)(certificate)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [
            _CLIENT_NAME.fullmatch(name.value) for name in names if isinstance(name, x509.UniformResourceIdentifier)
        ]
    except _MALFORMED as failure:
        raise _refused("expected a certificate of a site, got something else", "certificate") from failure
    if len(found) != 1 or found[0] is None:
        raise _refused("expected a certificate with the name of one site, got another kind", "certificate")
    return Client(
        consortium=found[0]["consortium"],
        site=found[0]["site"],
        serial=f"{read.serial_number:x}",
        fingerprint=_sha256(read.public_bytes(Encoding.DER)),
        expires=read.not_valid_after_utc,
    )


def verify_client(certificate: bytes, *, authority: str, now: dt.datetime) -> Client:
    """Check a client certificate against the CA, now; revocation is the caller's.

    Args:
        certificate: DER or PEM.
        authority: The CA's certificate, PEM.
        now: With time zone.

    Raises:
        EnrolmentRefusedError: If it is not valid, or names no site.
    """
    client = read_client(certificate)
    is_pem = certificate.startswith(b"-----")
    leaf = (x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate)(certificate)
    store = Store([x509.load_pem_x509_certificate(authority.encode())])
    verifier = PolicyBuilder().store(store).time(now).max_chain_depth(1).build_client_verifier()
    try:
        verifier.verify(leaf, [])
    except (*_MALFORMED, VerificationError) as failure:
        raise _refused(
            f"expected a valid certificate of the consortium's authority for site {client.site}, it is none now",
            "certificate",
        ) from failure
    return client


def verify_server(certificate: str, *, names: Sequence[str], authority: str, now: dt.datetime) -> None:
    """Check a server certificate against the CA, now, as a site will that connects to each of the names.

    Raises:
        EnrolmentRefusedError: If a site would refuse it.
    """
    store = Store([x509.load_pem_x509_certificate(authority.encode())])
    policy = PolicyBuilder().store(store).time(now).max_chain_depth(1)
    try:
        leaf = x509.load_pem_x509_certificate(certificate.encode())
        for name in names:
            policy.build_server_verifier(_address(name) or x509.DNSName(name.lower())).verify(leaf, [])
    except (*_MALFORMED, VerificationError) as failure:
        raise _refused(
            f"expected a valid certificate of the consortium's authority for {', '.join(names)}, it is none now",
            "certificate",
        ) from failure


def _issue(
    request: str,
    common_name: str,
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    *,
    authority: str,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> Issued:
    issuer = x509.load_pem_x509_certificate(authority.encode())
    public, until = request_key(request), min(now + LIFETIME, issuer.not_valid_after_utc)
    certificate = (
        _begin(_name(common_name), public, issuer=issuer.subject, issuer_key=key.public_key(), until=until, now=now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, SHA256())
    )
    return Issued(
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        serial=f"{certificate.serial_number:x}",
        fingerprint=_sha256(certificate.public_bytes(Encoding.DER)),
        expires=certificate.not_valid_after_utc,
    )


def _begin(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePublicKey,
    until: dt.datetime,
    now: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_MAY_DIFFER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _address(name: str) -> x509.IPAddress | None:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refused(message: str, reason: str) -> EnrolmentRefusedError:
    return EnrolmentRefusedError(
        message, remedy="make the request again with the commands of this version of Cohortium", reason=reason
    )
