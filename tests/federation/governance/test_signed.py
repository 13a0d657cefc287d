"""Signed documents: genuine ones pass; another key, another document and another purpose do not."""

import pytest

from federation.documents import Document
from federation.errors import NotApprovedError, SignatureRefusedError
from federation.governance.signed import Signature, check_signature, sign_document
from federation.protocol.signatures import SigningKey


class Note(Document):
    text: str


KEY = SigningKey.generate()
NOTE = Note(text="ward 3")


def _check(note: Note, signature: Signature, *, purpose: str = "note", key: SigningKey = KEY) -> None:
    check_signature(note, signature, purpose=purpose, public_key=key.public_key, signer="the ward")


def test_a_genuine_signature_passes_and_survives_json() -> None:
    signature = sign_document(NOTE, KEY, purpose="note")
    _check(NOTE, signature)
    _check(Note.from_json(NOTE.model_dump_json()), Signature.from_json(signature.model_dump_json()))


@pytest.mark.parametrize("case", ["document", "purpose", "key", "forged"])
def test_anything_else_is_refused(case: str) -> None:
    signature = sign_document(NOTE, KEY, purpose="note")
    other = SigningKey.generate()
    with pytest.raises(SignatureRefusedError) as refused:  # noqa: PT012 - one of four ways
        match case:
            case "document":
                _check(Note(text="ward 4"), signature)
            case "purpose":
                _check(NOTE, signature, purpose="approval")
            case "key":
                _check(NOTE, sign_document(NOTE, other, purpose="note"))
            case _:  # another's signature under the right key's name
                forged = sign_document(NOTE, other, purpose="note").signature
                _check(NOTE, Signature(public_key=KEY.public_key, signature=forged))
    assert "the ward" in refused.value.message


def test_the_class_of_the_error_is_the_callers() -> None:
    with pytest.raises(NotApprovedError):
        check_signature(
            NOTE,
            sign_document(NOTE, SigningKey.generate(), purpose="note"),
            purpose="note",
            public_key=KEY.public_key,
            signer="the ward",
            error=NotApprovedError,
        )
