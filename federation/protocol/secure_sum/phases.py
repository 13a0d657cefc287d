"""What every stored phase of a secure sum has in common: one spelling as bytes, and no secret in an error."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field

from federation.documents import Document
from federation.errors import CheckpointError
from federation.identifiers import SiteId

SecretBytes = Annotated[bytes, Field(repr=False)]
SecretList = Annotated[tuple[bytes, ...], Field(repr=False)]


_DIGEST_BYTES: Final = 64


def undamaged(content: bytes) -> bytes:
    """The JSON of a stored phase, if its digest is right: one changed bit could show a survivor's key in place of its seed.

    Raises:
        ValueError: If it is not.
    """
    text, digest = content[_DIGEST_BYTES:], content[:_DIGEST_BYTES]
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise ValueError("expected the digest of a stored phase")
    return text


class Phase(Document):
    """A phase that can be stored and restored. The bytes hold secrets: a file of them is for its owner only."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", hide_input_in_errors=True)

    def to_bytes(self) -> bytes:
        """The phase: the SHA-256 of what follows in 64 hexadecimal digits, and JSON."""
        text = self.model_dump_json().encode()
        return hashlib.sha256(text).hexdigest().encode() + text

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """A stored phase.

        Raises:
            CheckpointError: If it is another phase, or damaged. The message shows nothing of it.
        """
        try:
            return cls.model_validate_json(undamaged(content))
        except ValueError:
            raise CheckpointError(
                f"expected a stored phase {cls.__name__} of a secure sum, got other bytes",
                remedy="restore the file, or begin the next attempt with new keys",
            ) from None


class RoundId(Document):
    """One sum: its purpose, round and attempt."""

    purpose: SiteId
    round_number: int
    attempt: int
