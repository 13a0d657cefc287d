"""A site takes part in one round: it masks its numbers, signs the set of survivors, and answers the request to unmask.

These three calls are all that an agent needs. Each gives the phase to store, durably and first, and the message to send.
Bonawitz et al. 2017, Figure 4, rounds 2 to 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from federation.errors import InvalidInputError
from federation.protocol.secure_sum import contexts, key_agreement
from federation.protocol.secure_sum.agreeing import SharesHeld
from federation.protocol.secure_sum.layout import Layout, Ring32, Ring64
from federation.protocol.secure_sum.masking import Fill32, Fill64, Mask, mask
from federation.protocol.secure_sum.messages import HASH_BYTES, RECEIPT_BYTES, Receipt
from federation.protocol.secure_sum.packing import pack
from federation.protocol.secure_sum.phases import RoundId
from federation.protocol.secure_sum.quantization import IntegerSource, UpdateSource
from federation.protocol.secure_sum.round_phases import ConsistencySigned, Masked, RoundPhase, Unmasked, check_request
from federation.protocol.secure_sum.wire import Bytes, Kind, refused, write_frame
from federation.protocol.signatures import SigningKey

_KEY: Final = key_agreement.KEY_BYTES


@dataclass(frozen=True)
class Numbers:
    """What a site adds to the sum. Never shown.

    Args:
        updates: Modulo 2**32, or fewer bits if their encoding has fewer; ``None``: none.
        statistics: Modulo 2**64; ``None``: none.
    """

    updates: UpdateSource | IntegerSource | None = field(default=None, repr=False)
    statistics: IntegerSource | None = field(default=None, repr=False)

    @property
    def layout(self) -> Layout:
        """How many there are."""
        statistics = 0 if self.statistics is None else len(self.statistics)
        if self.updates is None:
            return Layout(updates=0, statistics=statistics)
        return Layout(updates=len(self.updates), statistics=statistics, update_bits=self.updates.bits)


def mask_numbers(
    held: SharesHeld,
    numbers: Numbers,
    *,
    round_number: int,
    model_hash: bytes,
    earlier: RoundPhase | None,
    signing_key: SigningKey,
) -> tuple[Masked, bytearray]:
    """Mask a site's numbers.

    Args:
        held: The keys and shares of the batch.
        numbers: What to add to the sum. Different numbers under the same keys would show their difference, so the message is kept
            and sent again as it is.
        round_number: One of the batch's.
        model_hash: SHA-256 of the model that the site received, 32 bytes.
        earlier: The stored phase of this round, of whatever attempt; ``None``: there is none.
        signing_key: The site's identity.

    Returns:
        The phase, to be stored first, and the contribution for the server.

    Raises:
        SecureSumRefusedError: ``already_masked``: this or a later attempt was answered; ``already_opened``: the round was opened.
        InvalidInputError: If a number is not allowed, or ``earlier`` is of another round.
    """
    if len(model_hash) != HASH_BYTES:
        raise InvalidInputError(f"expected a SHA-256 of {HASH_BYTES} bytes, got {len(model_hash)}")
    batch = held.batch
    position = batch.position(round_number)
    round_id = RoundId(purpose=batch.purpose, round_number=round_number, attempt=batch.attempt)
    _check_earlier(earlier, round_id, study=held.terms.study)
    context = contexts.round_context(held.agreement, holders=held.holders, round_number=round_number)
    layout = numbers.layout
    contribution = bytearray(layout.payload_bytes + RECEIPT_BYTES)
    masks = _masks(held, position, context, model_hash=model_hash, layout=layout)
    digest = _write_masked(memoryview(contribution)[: layout.payload_bytes], layout, numbers, masks)
    receipt = Receipt(site=held.index, model_hash=model_hash, layout=layout, payload_hash=digest)
    frame = write_frame(Kind.RECEIPT, context, held.index, receipt.body(), key=signing_key)
    phase = Masked(
        terms=held.terms,
        round_id=round_id,
        index=held.index,
        context=context,
        holders=held.holders,
        shares=held.shares[position],
        receipt=frame,
    )
    contribution[layout.payload_bytes :] = frame
    return phase, contribution


def _write_masked(payload: memoryview, layout: Layout, numbers: Numbers, masks: Sequence[Mask]) -> bytes:
    """Write the masked numbers, and give the SHA-256 of what was written."""
    digest = hashlib.sha256()
    room = memoryview(bytearray(8 * layout.words_64 + 4 * layout.words_32)) if layout.is_packed else payload
    wide, narrow = layout.parts(room)
    mask(
        wide,
        narrow,
        masks,
        fill_64=_filled_64(numbers.statistics),
        fill_32=_filled_32(numbers.updates),
        read=None if layout.is_packed else digest.update,
    )
    if layout.is_packed:
        split = 8 * layout.words_64
        payload[:split] = room[:split]
        pack(narrow, layout.update_bits, payload[split:])
        digest.update(payload)
    return digest.digest()


def _check_earlier(earlier: RoundPhase | None, round_id: RoundId, *, study: str) -> None:
    if earlier is None:
        return
    known = earlier.round_id
    if (known.purpose, known.round_number, earlier.terms.study) != (round_id.purpose, round_id.round_number, study):
        raise InvalidInputError("expected the stored phase of the same round of the same study, got that of another")
    if isinstance(earlier, Unmasked):
        raise refused("already_opened", "expected a round whose sum was not opened, this site answered for it")
    if known.attempt >= round_id.attempt:
        raise refused(
            "already_masked",
            f"expected an attempt after {known.attempt}, got {round_id.attempt}",
            remedy="send the contribution that is stored, or agree on keys for the next attempt",
        )


def _masks(held: SharesHeld, position: int, context: bytes, *, model_hash: bytes, layout: Layout) -> list[Mask]:
    """The site's own mask and one for each pair; the site that comes first in the roster adds the pair's."""
    masks: list[Mask] = []
    for place, peer in enumerate(held.holders):
        is_own = peer == held.index
        low, high = sorted((held.index, peer))
        secret = held.seeds[position] if is_own else held.pair_secrets[position][place * _KEY : (place + 1) * _KEY]
        info = contexts.mask_info(context, model_hash=model_hash, layout=layout, low=low, high=high)
        masks.append(Mask(key_agreement.expand(secret, info=info), is_added=is_own or held.index < peer))
    return masks


def _filled_32(source: UpdateSource | IntegerSource | None) -> Fill32:
    def fill(start: int, block: Ring32) -> None:
        count = 0 if source is None else max(0, min(len(source) - start, len(block)))
        if source is not None and count:
            source.write(start, block[:count])
        block[count:] = 1

    return fill


def _filled_64(source: IntegerSource | None) -> Fill64:
    def fill(start: int, block: Ring64) -> None:
        count = 0 if source is None else max(0, min(len(source) - start, len(block)))
        if source is not None and count:
            source.write(start, block[:count])
        block[count:] = 1

    return fill


def sign_survivors(
    phase: RoundPhase, announcement: Bytes, *, signing_key: SigningKey
) -> tuple[ConsistencySigned | Unmasked, bytes]:
    """Sign the announced survivors; repeat the signature for the same set, and refuse any other.

    Args:
        phase: The latest stored phase of the round.
        announcement: From the server.
        signing_key: The site's identity.

    Returns:
        The phase, to be stored first, and the signature for the server.

    Raises:
        SecureSumRefusedError: ``other_survivors``, or as :meth:`Masked.sign`.
    """
    if isinstance(phase, Masked):
        return phase.sign(announcement, signing_key=signing_key)
    if contexts.survivors_digest(bytes(announcement)) != phase.survivors_digest:
        raise refused("other_survivors", "expected the set of survivors that this site signed, got another")
    return phase, phase.message


def answer_unmask(phase: RoundPhase, request: Bytes, *, signing_key: SigningKey) -> tuple[Unmasked, bytes]:
    """Answer a request to unmask; repeat the answer for the same set, and refuse any other.

    Args:
        phase: The latest stored phase of the round.
        request: From the server.
        signing_key: The site's identity.

    Returns:
        The phase, to be stored *durably* first, and the answer for the server.

    Raises:
        SecureSumRefusedError: ``not_signed``: this site signed no set yet; or as :meth:`ConsistencySigned.unmask`.
    """
    if isinstance(phase, Masked):
        raise refused("not_signed", "expected a request after this site signed the survivors, got one before")
    if isinstance(phase, ConsistencySigned):
        return phase.unmask(request, signing_key=signing_key)
    check_request(phase, request)
    return phase, phase.answer
