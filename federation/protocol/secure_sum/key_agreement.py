"""X25519 (RFC 7748), HKDF-SHA256 (RFC 5869) and HPKE (RFC 9180), from ``cryptography``, behind five functions on bytes."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from federation.errors import InvalidInputError

KEY_BYTES: Final = 32
SEAL_BYTES: Final = 32 + 16
"""What sealing adds: an ephemeral public key and a tag."""
_FIELD: Final = 2**255 - 19
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def public_key(private: bytes) -> bytes:
    """The X25519 public key of 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def is_canonical(public: bytes) -> bool:
    """Whether a public key is the one spelling of its point. Others would let equal keys look different."""
    return len(public) == KEY_BYTES and int.from_bytes(public, "little") < _FIELD


def is_full_order(public: bytes) -> bool:
    """Whether a public key is not one of the points of low order, whose secrets everybody knows."""
    try:
        X25519PrivateKey.from_private_bytes(bytes(KEY_BYTES)).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return False
    return True


def agreed_secret(private: bytes, public: bytes, *, salt: bytes, info: bytes) -> bytes:
    """HKDF of the X25519 secret of a pair: 32 bytes.

    Raises:
        InvalidInputError: If the public key is of low order, so that the secret would be known to everybody.
    """
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as failure:
        raise InvalidInputError(
            "expected an X25519 public key, got a point of low order or a wrong length"
        ) from failure
    return HKDF(SHA256(), KEY_BYTES, salt, info).derive(shared)


def expand(secret: bytes, *, info: bytes) -> bytes:
    """HKDF-Expand: 32 bytes for this purpose from 32 uniform secret bytes."""
    return HKDFExpand(SHA256(), KEY_BYTES, info).derive(secret)


def seal(plaintext: bytes, *, to: bytes, info: bytes) -> bytes:
    """HPKE in base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305; no associated data.

    The ephemeral key comes from the operating system, also in seeded runs: nothing depends on it but these bytes.

    Args:
        plaintext: What only the recipient may read.
        to: The recipient's public key.
        info: What it is for; opening it for anything else fails.

    Raises:
        InvalidInputError: If the public key cannot be used.
    """
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(to), info=info)
    except ValueError as failure:
        raise InvalidInputError("expected an X25519 public key to seal to, got one that cannot be used") from failure


def open_sealed(sealed: bytes, *, private: bytes, info: bytes) -> bytes | None:
    """The plaintext of :func:`seal`, or ``None`` if the bytes, the key or the purpose is another."""
    try:
        return _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(private), info=info)
    except (InvalidTag, ValueError):
        return None
