"""Ed25519 signatures (RFC 8032). Home of ``cryptography``'s signing.

Keys and signatures travel as lower-case hexadecimal text. A signature covers a purpose and the content, so that a
signature made for one purpose is worth nothing for another.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.errors import InvalidInputError

_KEY_BYTES: Final = 32
_TAG: Final = b"cohortium/signature/1\0"


class SigningKey:
    """A private key of Ed25519. Never shown, not even by ``repr``."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, content: bytes) -> SigningKey:
        """The key of 32 secret bytes.

        Raises:
            InvalidInputError: If there are not 32.
        """
        if len(content) != _KEY_BYTES:
            raise InvalidInputError(f"expected a signing key of {_KEY_BYTES} bytes, got {len(content)}")
        return cls(Ed25519PrivateKey.from_private_bytes(content))

    def to_bytes(self) -> bytes:
        """The 32 secret bytes, for a file that only its owner can read."""
        return self._key.private_bytes_raw()

    @property
    def public_key(self) -> str:
        """64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, content: bytes, *, purpose: str) -> str:
        """128 hexadecimal digits."""
        return self._key.sign(_signed(content, purpose)).hex()

    def __repr__(self) -> str:
        return f"SigningKey(public_key={self.public_key!r})"


def verify(content: bytes, *, purpose: str, public_key: str, signature: str) -> bool:
    """Whether the signature is genuine. Malformed keys and signatures are not."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), _signed(content, purpose))
    except (InvalidSignature, ValueError):
        return False
    return True


def _signed(content: bytes, purpose: str) -> bytes:
    return _TAG + len(purpose.encode()).to_bytes(2, "big") + purpose.encode() + content
