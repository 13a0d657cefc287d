"""The keys of a site: made here, once, in files that only their owner can read. The site's home of ``cryptography``.

Signatures are deterministic (RFC 6979), so that the same keys always make the same request, with the same fingerprint.
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
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from federation.durable_files import sync_folder, write_durably
from federation.errors import EnrolmentRefusedError, InvalidInputError, StudyError
from federation.protocol.signatures import SigningKey
from site_client.home_paths import SiteLayout
from site_client.ledger.key_file import find_or_make_key

_PRIVATE_FOLDER: Final = 0o700
_LARGEST_KEY: Final = 16 * 1024
_MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    VerificationError,
)


class TlsKey:
    """The P-256 key of the gateway's certificate. Never shown."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def request(self, site: str) -> str:
        """A certificate request, PEM. The authority ignores the name in it."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"site {site}"[:64])])
        made = x509.CertificateSigningRequestBuilder().subject_name(name)
        return made.sign(self._key, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.PEM).decode()

    def sign(self, content: bytes) -> str:
        """ECDSA with SHA-256, DER in hexadecimal."""
        return self._key.sign(content, ec.ECDSA(SHA256(), deterministic_signing=True)).hex()

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class NodeKey:
    """The P-384 key with which Flower knows the site's SuperNode. Never shown."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, content: bytes) -> str:
        """ECDSA with SHA-384, DER in hexadecimal."""
        return self._key.sign(content, ec.ECDSA(SHA384(), deterministic_signing=True)).hex()

    @property
    def public_key(self) -> str:
        """SubjectPublicKeyInfo in PEM: exactly the text that Flower sends and registers."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def public_line(self) -> bytes:
        """OpenSSH's one line: what ``flwr supernode register`` reads."""
        return self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"


def prepare(layout: SiteLayout) -> None:
    """Make the site's folders, for their owner only. Folders that exist keep their modes."""
    for folder in (layout.folder, layout.gateway):
        if not folder.is_dir():
            folder.mkdir(mode=_PRIVATE_FOLDER, parents=True)


def identity_key(layout: SiteLayout) -> SigningKey:
    """The site's Ed25519 key, made if there is none."""
    return find_or_make_key(layout.identity_key.with_suffix(""))


def tls_key(path: Path) -> TlsKey:
    """The P-256 key in a PEM file, made if there is none; of two processes that make one, both get the same.

    Raises:
        InvalidInputError: If the file holds something else.
        StudyError: If the folder cannot be written.
    """
    content = _find_or_make(path, lambda: _private(ec.SECP256R1(), PrivateFormat.PKCS8))
    return TlsKey(_load(path, content, load_pem_private_key, ec.SECP256R1))


def find_tls_key(path: Path) -> TlsKey | None:
    """The P-256 key in a PEM file, if there is one."""
    return tls_key(path) if path.exists() else None


def node_key(layout: SiteLayout) -> NodeKey:
    """The P-384 key of the site's SuperNode, made if there is none, with its public line beside it."""
    content = _find_or_make(layout.node_key, lambda: _private(ec.SECP384R1(), PrivateFormat.OpenSSH))
    key = NodeKey(_load(layout.node_key, content, load_ssh_private_key, ec.SECP384R1))
    if not layout.node_public_key.exists():
        write_durably(layout.node_public_key, key.public_line)
    return key


def check_certificate(certificate: str, *, authority: str, name: str, now: dt.datetime) -> tuple[bytes, dt.datetime]:
    """Check the site's own certificate as the gate will.

    Args:
        certificate: PEM.
        authority: The CA's certificate, PEM.
        name: The only URI it must name.
        now: With time zone.

    Returns:
        SubjectPublicKeyInfo (DER) of its key, and when it expires.

    Raises:
        EnrolmentRefusedError: If it is another authority's, another site's, or not valid now.
    """
    try:
        leaf = x509.load_pem_x509_certificate(certificate.encode())
        store = Store([x509.load_pem_x509_certificate(authority.encode())])
        PolicyBuilder().store(store).time(now).max_chain_depth(1).build_client_verifier().verify(leaf, [])
        names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except _MALFORMED as failure:
        raise EnrolmentRefusedError(
            "expected a certificate that the consortium's authority issued and that is valid now, got another",
            remedy="ask the consortium for the admission again; check this machine's clock",
            reason="certificate",
        ) from failure
    if names != [x509.UniformResourceIdentifier(name)]:
        raise EnrolmentRefusedError(
            f"expected a certificate for {name} alone, got one for another name",
            remedy="do not install it; ask the consortium for this site's admission",
            reason="certificate_name",
        )
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key, leaf.not_valid_after_utc


def certificate_name(certificate: str) -> str:
    """The one URI that a certificate in PEM names; nothing is checked.

    Raises:
        InvalidInputError: If the text is no certificate, or names another number of things.
    """
    try:
        leaf = x509.load_pem_x509_certificate(certificate.encode())
        (name,) = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _MALFORMED as failure:
        raise InvalidInputError(
            "expected a certificate that names one site, got another",
            remedy="ask the consortium for the admission again",
        ) from failure
    return str(name.value)


def certificate_serial(certificate: str) -> str:
    """The serial number of a certificate in PEM, hexadecimal.

    Raises:
        InvalidInputError: If the text is no certificate.
    """
    try:
        return f"{x509.load_pem_x509_certificate(certificate.encode()).serial_number:x}"
    except _MALFORMED as failure:
        raise InvalidInputError(
            "expected a certificate in PEM, got something else", remedy="put the site's own tls.crt back"
        ) from failure


def _private(curve: ec.EllipticCurve, form: PrivateFormat) -> bytes:
    return ec.generate_private_key(curve).private_bytes(Encoding.PEM, form, NoEncryption())


def _load(
    path: Path,
    content: bytes,
    loader: Callable[[bytes, None], object],
    curve: type[ec.EllipticCurve],
) -> ec.EllipticCurvePrivateKey:
    try:
        key = loader(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as failure:
        raise _not_a_key(path, curve.name) from failure
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, curve):
        raise _not_a_key(path, curve.name)
    return key


def _find_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        if not path.exists():
            try:
                write_durably(temporary, make(), secret=True)
                with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
                    os.link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
        with path.open("rb") as stream:
            return stream.read(_LARGEST_KEY)
    except OSError as failure:
        raise StudyError(
            f"expected to read and write the key {path}, got: {failure.strerror or type(failure).__name__}",
            remedy="mend the disk, its space or its permissions, then go on",
        ) from failure


def _not_a_key(path: Path, curve: object) -> InvalidInputError:
    return InvalidInputError(
        f"expected a private key ({curve}) in {path}, got something else",
        remedy="put the site's key back, or move the file away and enrol again with a new invitation",
    )
