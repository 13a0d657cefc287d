"""The frames of the secure sum: fixed binary layouts, each with one spelling and one length.

::

    frame   "CSS1" | kind 1 | context 32 | sender 2 | body | Ed25519 signature 64
    list    "CSS1" | kind 1 | context 32 | count 2  | items of one length

The signature covers everything before it and, as its purpose, the kind. The context names the terms, the batch and, for messages
of a round, the round and the list of keys; so nothing of another study, round, attempt or roster is ever taken for this one.
Lengths are known before a byte is read: whatever has another length is refused unread. Numbers have the big end first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from federation.errors import SecureSumRefusedError
from federation.protocol.secure_sum.terms import SecureSumTerms
from federation.protocol.signatures import SigningKey, verify

Bytes = bytes | bytearray | memoryview

_MAGIC: Final = b"CSS1"
_PURPOSE: Final = "secure-sum"
CONTEXT_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
HEAD_BYTES: Final = len(_MAGIC) + 1 + CONTEXT_BYTES + 2


class Kind(IntEnum):
    """What a frame or list is."""

    ADVERTISEMENT = 1
    PARCEL = 2
    RECEIPT = 3
    CONSISTENCY = 4
    ANSWER = 5
    KEY_LIST = 65
    PARCELS = 66
    SURVIVORS = 67
    UNMASK = 68


@dataclass(frozen=True)
class Frame:
    """A frame whose signature is that of the roster's site."""

    sender: int
    """Position in the roster."""
    body: bytes
    content: bytes
    """The whole frame."""


def refused(reason: str, message: str, *, site: str = "", remedy: str = "") -> SecureSumRefusedError:
    """The error for something that the protocol does not allow.

    Args:
        reason: Short word, kept in ``facts["reason"]``.
        message: What was expected and what came; never a secret.
        site: Whom it concerns, if that is known.
        remedy: What to do.
    """
    named = f"site {site}: {message}" if site else message
    advice = remedy or "do not answer; ask the consortium why such a message was sent"
    return SecureSumRefusedError(named, remedy=advice, reason=reason, site=site)


def frame_bytes(body_bytes: int) -> int:
    """Length of a frame with a body of that length."""
    return HEAD_BYTES + body_bytes + SIGNATURE_BYTES


def write_frame(kind: Kind, context: bytes, sender: int, body: bytes, *, key: SigningKey) -> bytes:
    """A signed frame."""
    content = _head(kind, context, sender) + body
    return content + bytes.fromhex(key.sign(content, purpose=f"{_PURPOSE}/{kind.name.lower()}"))


def read_frame(content: Bytes, kind: Kind, context: bytes, *, terms: SecureSumTerms, body_bytes: int) -> Frame:
    """Read a frame.

    Args:
        content: What arrived.
        kind: What it must be.
        context: 32 bytes that it must name.
        terms: Whose roster it must be signed by.
        body_bytes: Length of the body, to the byte.

    Raises:
        SecureSumRefusedError: With the reason ``malformed``, ``other_context``, ``not_in_roster`` or ``forged``.
    """
    _expect_length(content, frame_bytes(body_bytes))
    whole = bytes(content)
    sender = _read_head(whole, kind, context)
    if sender >= len(terms.members):
        raise refused("not_in_roster", f"expected a sender of {len(terms.members)} sites, got number {sender}")
    member = terms.members[sender]
    signed, signature = whole[:-SIGNATURE_BYTES], whole[-SIGNATURE_BYTES:].hex()
    purpose = f"{_PURPOSE}/{kind.name.lower()}"
    if not verify(signed, purpose=purpose, public_key=member.public_key, signature=signature):
        raise refused("forged", "expected the signature of the roster's key, got another", site=member.site)
    return Frame(sender=sender, body=signed[HEAD_BYTES:], content=whole)


def write_list(kind: Kind, context: bytes, items: Sequence[bytes]) -> bytes:
    """Items of one length after a head."""
    return b"".join((_head(kind, context, len(items)), *items))


def read_list(content: Bytes, kind: Kind, context: bytes, *, item_bytes: int, most: int) -> list[bytes]:
    """The items of a list, unread.

    Args:
        content: What arrived.
        kind: What it must be.
        context: 32 bytes that it must name.
        item_bytes: Length of an item, to the byte.
        most: More items are refused.

    Raises:
        SecureSumRefusedError: With the reason ``malformed`` or ``other_context``.
    """
    if not HEAD_BYTES <= len(content) <= HEAD_BYTES + item_bytes * most:
        raise refused("malformed", f"expected a list of at most {most} items, got {len(content)} bytes")
    count = _read_head(bytes(content[:HEAD_BYTES]), kind, context)
    _expect_length(content, HEAD_BYTES + item_bytes * count)
    return [bytes(content[start : start + item_bytes]) for start in range(HEAD_BYTES, len(content), item_bytes)]


def read_frames(
    content: Bytes, kind: Kind, item_kind: Kind, context: bytes, *, terms: SecureSumTerms, body_bytes: int
) -> list[Frame]:
    """The frames of a list, each signed, one for a site, in the roster's order.

    Raises:
        SecureSumRefusedError: As :func:`read_list` and :func:`read_frame`, and ``duplicate`` if the order is another.
    """
    most = len(terms.members)
    items = read_list(content, kind, context, item_bytes=frame_bytes(body_bytes), most=most)
    frames = [read_frame(item, item_kind, context, terms=terms, body_bytes=body_bytes) for item in items]
    senders = [frame.sender for frame in frames]
    if senders != sorted(set(senders)):
        raise refused("duplicate", "expected every site once, in the roster's order")
    return frames


def _head(kind: Kind, context: bytes, number: int) -> bytes:
    return _MAGIC + bytes([kind]) + context + number.to_bytes(2, "big")


def _read_head(content: bytes, kind: Kind, context: bytes) -> int:
    start = len(_MAGIC)
    if content[:start] != _MAGIC or content[start] != kind:
        raise refused("malformed", f"expected a message of the kind {kind.name.lower()}, got another")
    if content[start + 1 : start + 1 + CONTEXT_BYTES] != context:
        raise refused(
            "other_context",
            "expected a message of these terms, this round, this attempt and this list of keys, got one of another",
        )
    return int.from_bytes(content[HEAD_BYTES - 2 : HEAD_BYTES], "big")


def _expect_length(content: Bytes, length: int) -> None:
    if len(content) != length:
        raise refused("malformed", f"expected {length} bytes, got {len(content)}")
