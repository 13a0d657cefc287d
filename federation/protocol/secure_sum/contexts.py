"""The hashes that bind keys, shares and messages to their place. Every one has a tag of its own and fields of fixed length.

::

    batch      terms, purpose, first round, rounds, attempt     names advertisements
    agreement  batch, the list of advertised keys               names parcels of shares
    round      agreement, who holds shares, the round           names what is said in a round, and enters every mask

Two sites that were shown different lists of keys or holders therefore refuse each other, and their masks do not cancel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Literal

from federation.protocol.secure_sum.layout import Layout

_TAG: Final = b"cohortium/secure-sum/"
Secret = Literal["seed", "key"]
"""Which secret of a dealer: the seed of its own mask, or the private key of its pairwise masks."""


def _hash(label: bytes, *fields: bytes) -> bytes:
    return hashlib.sha256(_TAG + label + b"/1\0" + b"".join(fields)).digest()


def number(value: int) -> bytes:
    """Two bytes, big end first."""
    return value.to_bytes(2, "big")


def agreement_context(batch_context: bytes, key_list: bytes) -> bytes:
    """Names the batch and the whole list of keys."""
    return _hash(b"agreement", batch_context, hashlib.sha256(key_list).digest())


def round_context(agreement: bytes, *, holders: Sequence[int], round_number: int) -> bytes:
    """Names the agreement, the sites whose shares are held, and the round."""
    listed = hashlib.sha256(b"".join(number(holder) for holder in holders)).digest()
    return _hash(b"round", agreement, listed, round_number.to_bytes(4, "big"))


def seed_commitment(batch_context: bytes, *, site: int, position: int, seed: bytes) -> bytes:
    """What an advertisement says about the seed of a round. The seed is uniform, so its hash hides it."""
    return _hash(b"seed", batch_context, number(site), number(position), seed)


def share_commitment(
    agreement: bytes, *, dealer: int, recipient: int, position: int, secret: Secret, opening: bytes
) -> bytes:
    """What a parcel says about a share.

    Args:
        agreement: The agreement's context.
        dealer: Whose secret it is.
        recipient: Who holds the share.
        position: Of the round in the batch.
        secret: Which secret.
        opening: Share and salt.
    """
    place = number(dealer) + number(recipient) + number(position)
    return _hash(b"share/" + secret.encode(), agreement, place, opening)


def seal_info(agreement: bytes, *, dealer: int, recipient: int) -> bytes:
    """What a sealed parcel is for."""
    return _hash(b"seal", agreement, number(dealer), number(recipient))


def pair_info(batch_context: bytes, *, position: int, low: int, high: int) -> bytes:
    """What the agreed secret of two sites is for."""
    return _hash(b"pair", batch_context, number(position), number(low), number(high))


def mask_info(context: bytes, *, model_hash: bytes, layout: Layout, low: int, high: int) -> bytes:
    """What a mask is for: the round, the received model, the layout, and the pair; ``low == high`` is a site's own."""
    return _hash(b"mask", context, model_hash, layout.to_bytes(), number(low), number(high))


def survivors_digest(announcement: bytes) -> bytes:
    """Names a set of survivors with all their receipts: what survivors sign."""
    return _hash(b"survivors", announcement)
