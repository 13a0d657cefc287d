"""A document and signatures over its canonical bytes, as one JSON file that can travel by e-mail.

Every kind of signed document has its own purpose, so that a signature on one kind is worth nothing on another.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from federation.documents import Document
from federation.errors import CohortiumError, SignatureRefusedError
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.signatures import SigningKey, verify


class Signature(Document):
    """Of one key, over a document's canonical bytes and a purpose."""

    public_key: Hexadecimal
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


def sign_document(document: Document, key: SigningKey, *, purpose: str) -> Signature:
    """Sign a document.

    Args:
        document: What is signed.
        key: Of whoever signs.
        purpose: Kind of the document, such as ``proposal``.
    """
    return Signature(public_key=key.public_key, signature=key.sign(document.canonical_bytes(), purpose=purpose))


def check_signature(
    document: Document,
    signature: Signature,
    *,
    purpose: str,
    public_key: str,
    signer: str,
    error: type[CohortiumError] = SignatureRefusedError,
) -> None:
    """Check that a document was signed by a key that is known from elsewhere.

    Args:
        document: What was signed.
        signature: What came with it.
        purpose: Kind of the document.
        public_key: The key it must be of. The one inside the signature says only who claims to have signed.
        signer: Whose key that is, for the message.
        error: Class of the error.

    Raises:
        CohortiumError: ``error``, if it is another key's or does not hold.
    """
    if signature.public_key != public_key:
        raise error(
            f"expected the {purpose} to be signed by {signer} (key {public_key[:16]}…), "
            f"got a signature of key {signature.public_key[:16]}…",
            remedy="ask for the document of the right signer; compare the key's first digits by telephone",
        )
    if not verify(document.canonical_bytes(), purpose=purpose, public_key=public_key, signature=signature.signature):
        raise error(
            f"expected the signature of {signer} on the {purpose} to hold, it does not",
            remedy="the document was changed after it was signed: ask for the original",
        )
