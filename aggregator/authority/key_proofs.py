"""What others say about their EC keys, checked: certificate requests, and signatures that prove who holds a key."""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from federation.errors import EnrolmentRefusedError


def request_key(request: str) -> ec.EllipticCurvePublicKey:
    """The P-256 key of a certificate request that this key has signed.

    Raises:
        EnrolmentRefusedError: If it is anything else.
    """
    try:
        read = x509.load_pem_x509_csr(request.encode())
        key, holds = read.public_key(), read.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as failure:
        raise _refused("expected a certificate request (PKCS #10), got text that is none", "request") from failure
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused("expected a certificate request with a P-256 key, got one of another kind", "request_key")
    if not holds:
        raise _refused("expected a certificate request signed by its own key, the signature does not hold", "request")
    return key


def request_key_digest(request: str) -> str:
    """SHA-256 of the SubjectPublicKeyInfo of a request's key, hexadecimal: to recognise a key that was used before."""
    content = request_key(request).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(content).hexdigest()


def check_tls_proof(request: str, content: bytes, signature: str) -> bool:
    """Whether the key of a certificate request has signed the content (ECDSA, SHA-256). Refuses as :func:`request_key`."""
    return _holds(request_key(request), content, signature, ec.ECDSA(SHA256()))


def check_node_proof(node_key: str, content: bytes, signature: str) -> bool:
    """Whether a Flower node key has signed the content (ECDSA, SHA-384).

    Raises:
        EnrolmentRefusedError: If it is not a P-384 key in exactly the text that Flower makes of it.
    """
    try:
        key = load_pem_public_key(node_key.encode())
    except (ValueError, UnsupportedAlgorithm) as failure:
        raise _refused("expected a public key in PEM as node key, got text that is none", "node_key") from failure
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _refused("expected a P-384 key as node key, got one of another kind", "node_key")
    if key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode() != node_key:
        raise _refused("expected the node key in its one canonical spelling, got another", "node_key")
    return _holds(key, content, signature, ec.ECDSA(SHA384()))


def _holds(key: ec.EllipticCurvePublicKey, content: bytes, signature: str, algorithm: ec.ECDSA) -> bool:
    try:
        key.verify(bytes.fromhex(signature), content, algorithm)
    except (InvalidSignature, ValueError):
        return False
    return True


def _refused(message: str, reason: str) -> EnrolmentRefusedError:
    return EnrolmentRefusedError(
        message, remedy="make the request again with the commands of this version of Cohortium", reason=reason
    )
