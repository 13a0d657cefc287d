"""Signatures: the standard's vectors, purposes, and everything that is no signature; ledger heads on top."""

from __future__ import annotations

import pytest

from federation.errors import InvalidInputError, ManifestError
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.signatures import SigningKey, verify


def test_public_key_is_the_standards() -> None:
    """RFC 8032, section 7.1, test 1."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = SigningKey.from_bytes(secret)
    assert key.public_key == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.to_bytes() == secret
    assert secret.hex() not in repr(key)


def test_a_signature_is_for_one_content_one_purpose_and_one_key() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"content", purpose="head")
    assert verify(b"content", purpose="head", public_key=key.public_key, signature=signature)
    assert not verify(b"content!", purpose="head", public_key=key.public_key, signature=signature)
    assert not verify(b"content", purpose="heads", public_key=key.public_key, signature=signature)
    assert not verify(b"content", purpose="head", public_key=other.public_key, signature=signature)
    # The boundary between purpose and content is part of what is signed.
    assert not verify(b"dcontent", purpose="hea", public_key=key.public_key, signature=signature)


@pytest.mark.parametrize(
    ("public_key", "signature"), [("", ""), ("zz", "00" * 64), ("00" * 32, "00" * 63), ("00" * 31, "00" * 64)]
)
def test_malformed_is_not_genuine(public_key: str, signature: str) -> None:
    assert not verify(b"", purpose="head", public_key=public_key, signature=signature)


@pytest.mark.parametrize("length", [0, 31, 64])
def test_refuses_a_key_of_another_length(length: int) -> None:
    with pytest.raises(InvalidInputError, match="32 bytes"):
        SigningKey.from_bytes(bytes(length))


def test_head_is_genuine_and_no_changed_one_is() -> None:
    head = LedgerHead.signed(SigningKey.generate(), population="cardiology", sequence=7, entry_hash="ab" * 32)
    assert head.is_genuine()
    assert LedgerHead.from_data(head.as_data()) == head
    for change in (
        {"population": "oncology"},
        {"sequence": 8},
        {"entry_hash": "ac" * 32},
        {"public_key": SigningKey.generate().public_key},
        {"signature": "00" * 64},
    ):
        assert not LedgerHead.from_data(head.as_data() | change).is_genuine()
    with pytest.raises(ManifestError):
        LedgerHead.from_data(head.as_data() | {"entry_hash": "xy" * 32})
