"""What the frames of the secure sum hold. Every body has one length, known from the terms and the batch.

::

    advertisement  sealing key 32 | for each round: mask key 32, commitment to the seed 32
    parcel         recipient 2 | for each round: commitments to both shares 64 | sealed: for each round: two shares with salts 96
    receipt        model hash 32 | layout 8 | SHA-256 of the masked vector 32
    consistency    digest of the announced survivors 32
    answer         digest of the announced survivors 32 | for each holder: a share with its salt 48
    contribution   masked vector | receipt
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from federation.errors import InvalidInputError
from federation.protocol.secure_sum.contexts import number
from federation.protocol.secure_sum.key_agreement import KEY_BYTES, SEAL_BYTES, is_canonical
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.shamir import ELEMENT_BYTES
from federation.protocol.secure_sum.terms import SecureSumTerms
from federation.protocol.secure_sum.wire import (
    Bytes,
    Frame,
    Kind,
    frame_bytes,
    read_frame,
    read_frames,
    read_list,
    refused,
)

HASH_BYTES: Final = 32
SALT_BYTES: Final = 16
OPENING_BYTES: Final = ELEMENT_BYTES + SALT_BYTES
SHARES_BYTES: Final = 2 * OPENING_BYTES
"""Both shares of one dealer in one round."""
RECEIPT_BODY: Final = HASH_BYTES + 8 + HASH_BYTES
RECEIPT_BYTES: Final = frame_bytes(RECEIPT_BODY)


def _pieces(content: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(content[start : start + size] for start in range(0, len(content), size))


@dataclass(frozen=True)
class Advertisement:
    """A site's public keys of a batch."""

    site: int
    sealing_key: bytes
    mask_keys: tuple[bytes, ...]
    seed_commitments: tuple[bytes, ...]

    def body(self) -> bytes:
        """The frame's body."""
        rounds = zip(self.mask_keys, self.seed_commitments, strict=True)
        return self.sealing_key + b"".join(key + commitment for key, commitment in rounds)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All public keys."""
        return (self.sealing_key, *self.mask_keys)

    @classmethod
    def of(cls, frame: Frame) -> Advertisement:
        """What a frame advertises."""
        items = _pieces(frame.body, KEY_BYTES)
        return cls(site=frame.sender, sealing_key=items[0], mask_keys=items[1::2], seed_commitments=items[2::2])


def advertisement_body_bytes(rounds: int) -> int:
    """Length of an advertisement's body."""
    return KEY_BYTES + rounds * (KEY_BYTES + HASH_BYTES)


def read_advertisement(content: Bytes, context: bytes, *, terms: SecureSumTerms, rounds: int) -> Frame:
    """Read one. Raises as :func:`~federation.protocol.secure_sum.wire.read_frame`."""
    size = advertisement_body_bytes(rounds)
    return read_frame(content, Kind.ADVERTISEMENT, context, terms=terms, body_bytes=size)


def read_key_list(content: Bytes, context: bytes, *, terms: SecureSumTerms, rounds: int) -> tuple[Advertisement, ...]:
    """The advertisements of a list, each of another site, all keys different and spelt in the one way.

    Raises:
        SecureSumRefusedError: As :func:`~federation.protocol.secure_sum.wire.read_frames`; also ``duplicate_key``,
            ``malformed_key`` and ``too_few_sites``.
    """
    size = advertisement_body_bytes(rounds)
    frames = read_frames(content, Kind.KEY_LIST, Kind.ADVERTISEMENT, context, terms=terms, body_bytes=size)
    if len(frames) < terms.minimum_survivors:
        raise refused("too_few_sites", f"expected keys of at least {terms.minimum_survivors} sites, got {len(frames)}")
    advertisements = tuple(Advertisement.of(frame) for frame in frames)
    seen: set[bytes] = set()
    for item in advertisements:
        check_keys(item, seen, terms.members[item.site].site)
    return advertisements


def check_keys(item: Advertisement, seen: set[bytes], name: str) -> None:
    """Check that a site's keys are spelt in the one way and nobody else's, and add them to those that were seen.

    Raises:
        SecureSumRefusedError: ``malformed_key`` or ``duplicate_key``.
    """
    for key in item.keys:
        if not is_canonical(key):
            raise refused("malformed_key", "expected an X25519 key below the field's prime", site=name)
        if key in seen:
            raise refused("duplicate_key", "expected a key that nobody else advertised", site=name)
        seen.add(key)


@dataclass(frozen=True)
class Parcel:
    """The shares that a dealer made for one recipient, sealed."""

    dealer: int
    recipient: int
    commitments: bytes
    """For each round 64 bytes: of the share of the seed, and of the share of the key."""
    sealed: bytes = field(repr=False)

    def body(self) -> bytes:
        """The frame's body."""
        return number(self.recipient) + self.commitments + self.sealed


def read_parcels(
    content: Bytes, context: bytes, *, terms: SecureSumTerms, rounds: int
) -> tuple[tuple[Parcel, bytes], ...]:
    """The parcels of a list in its order, with their frames.

    Raises:
        SecureSumRefusedError: As :func:`~federation.protocol.secure_sum.wire.read_list` and ``read_frame``.
    """
    commitments = rounds * 2 * HASH_BYTES
    size = 2 + commitments + SEAL_BYTES + rounds * SHARES_BYTES
    most = len(terms.members)
    items = read_list(content, Kind.PARCELS, context, item_bytes=frame_bytes(size), most=most)
    parcels: list[tuple[Parcel, bytes]] = []
    for item in items:
        frame = read_frame(item, Kind.PARCEL, context, terms=terms, body_bytes=size)
        recipient = int.from_bytes(frame.body[:2], "big")
        sealed = frame.body[2 + commitments :]
        parcels.append((Parcel(frame.sender, recipient, frame.body[2 : 2 + commitments], sealed), item))
    return tuple(parcels)


@dataclass(frozen=True)
class Receipt:
    """What a site signs about its contribution."""

    site: int
    model_hash: bytes
    layout: Layout
    payload_hash: bytes

    def body(self) -> bytes:
        """The frame's body."""
        return self.model_hash + self.layout.to_bytes() + self.payload_hash

    @classmethod
    def of(cls, frame: Frame) -> Receipt:
        """What a frame says.

        Raises:
            SecureSumRefusedError: With the reason ``malformed``, if the layout is none.
        """
        end = HASH_BYTES + 8
        try:
            layout = Layout.from_bytes(frame.body[HASH_BYTES:end])
        except InvalidInputError as failure:
            raise refused("malformed", "expected a layout in a receipt, got numbers out of range") from failure
        return cls(site=frame.sender, model_hash=frame.body[:HASH_BYTES], layout=layout, payload_hash=frame.body[end:])


def read_receipt(content: Bytes, context: bytes, *, terms: SecureSumTerms) -> Receipt:
    """Read one. Raises as :func:`~federation.protocol.secure_sum.wire.read_frame`."""
    return Receipt.of(read_frame(content, Kind.RECEIPT, context, terms=terms, body_bytes=RECEIPT_BODY))


def read_survivors(content: Bytes, context: bytes, *, terms: SecureSumTerms) -> tuple[Receipt, ...]:
    """The receipts of an announcement. Raises as :func:`~federation.protocol.secure_sum.wire.read_frames`."""
    frames = read_frames(content, Kind.SURVIVORS, Kind.RECEIPT, context, terms=terms, body_bytes=RECEIPT_BODY)
    return tuple(Receipt.of(frame) for frame in frames)


def read_answer(content: Bytes, context: bytes, *, terms: SecureSumTerms, holders: int) -> tuple[int, bytes, bytes]:
    """Sender, digest of the survivors, and openings (48 bytes for each holder) of an answer.

    Raises:
        SecureSumRefusedError: As :func:`~federation.protocol.secure_sum.wire.read_frame`.
    """
    size = HASH_BYTES + holders * OPENING_BYTES
    frame = read_frame(content, Kind.ANSWER, context, terms=terms, body_bytes=size)
    return frame.sender, frame.body[:HASH_BYTES], frame.body[HASH_BYTES:]
