"""What a site remembers of one round: ``Masked`` ▶ ``ConsistencySigned`` ▶ ``Unmasked``.

The latest phase is stored *before* the message beside it is sent, in place of the phase before: then a site signs one set of
survivors only and opens one set only, whatever crashes. Bonawitz et al. 2017, Figure 4, rounds 3 and 4.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from federation.errors import CheckpointError
from federation.protocol.secure_sum import contexts
from federation.protocol.secure_sum.messages import HASH_BYTES, OPENING_BYTES, SHARES_BYTES, Receipt, read_survivors
from federation.protocol.secure_sum.phases import Phase, RoundId, SecretBytes, undamaged
from federation.protocol.secure_sum.terms import SecureSumTerms
from federation.protocol.secure_sum.wire import Bytes, Kind, read_frames, refused, write_frame
from federation.protocol.signatures import SigningKey


class _RoundPhase(Phase):
    terms: SecureSumTerms
    round_id: RoundId
    index: int
    context: bytes
    holders: tuple[int, ...]


class Masked(_RoundPhase):
    """The site sent its masked numbers."""

    kind: Literal["masked/1"] = "masked/1"
    shares: SecretBytes
    """96 bytes for each holder."""
    receipt: bytes

    def sign(self, announcement: Bytes, *, signing_key: SigningKey) -> tuple[ConsistencySigned, bytes]:
        """Sign the set of survivors, once.

        Args:
            announcement: From the server: the survivors' receipts.
            signing_key: The site's identity.

        Returns:
            The next phase, to be stored first, and the signature for the server.

        Raises:
            SecureSumRefusedError: ``too_few_survivors``, ``left_out``, ``receipt_changed``, ``unknown_survivor``,
                ``other_model`` or ``other_layout``; and as ``read_survivors``.
        """
        receipts = read_survivors(announcement, self.context, terms=self.terms)
        self._check(receipts, bytes(announcement))
        digest = contexts.survivors_digest(bytes(announcement))
        message = write_frame(Kind.CONSISTENCY, self.context, self.index, digest, key=signing_key)
        phase = ConsistencySigned(
            terms=self.terms,
            round_id=self.round_id,
            index=self.index,
            context=self.context,
            holders=self.holders,
            shares=self.shares,
            survivors=tuple(item.site for item in receipts),
            survivors_digest=digest,
            message=message,
        )
        return phase, message

    def _check(self, receipts: tuple[Receipt, ...], announcement: bytes) -> None:
        survivors = {item.site for item in receipts}
        least = self.terms.minimum_survivors
        if len(survivors) < least:
            raise refused("too_few_survivors", f"expected at least {least} survivors, got {len(survivors)}")
        if self.index not in survivors:
            raise refused("left_out", "expected this site among the survivors, it is left out")
        if self.receipt not in announcement:
            raise refused("receipt_changed", "expected this site's own receipt, got another")
        if not survivors <= set(self.holders):
            raise refused("unknown_survivor", "expected survivors whose shares are held, got another site")
        own = next(item for item in receipts if item.site == self.index)
        for item in receipts:
            name = self.terms.members[item.site].site
            if item.model_hash != own.model_hash:
                raise refused("other_model", "expected everybody to have received the same model", site=name)
            if item.layout != own.layout:
                raise refused("other_layout", "expected as many numbers from everybody", site=name)


class ConsistencySigned(_RoundPhase):
    """The site signed a set of survivors. It signs no other."""

    kind: Literal["consistency_signed/1"] = "consistency_signed/1"
    shares: SecretBytes
    survivors: tuple[int, ...]
    survivors_digest: bytes
    message: bytes

    def unmask(self, request: Bytes, *, signing_key: SigningKey) -> tuple[Unmasked, bytes]:
        """Show the shares that open the sum: of a survivor's seed, of a lost site's key, never both of one site.

        Args:
            request: From the server: signatures of survivors under the set that this site signed.
            signing_key: The site's identity.

        Returns:
            The next phase, to be stored *durably* first, and the answer for the server.

        Raises:
            SecureSumRefusedError: ``other_survivors`` or ``too_few_signatures``; and as ``read_frames``.
        """
        check_request(self, request)
        openings = [self._opening(place, site) for place, site in enumerate(self.holders)]
        body = self.survivors_digest + b"".join(openings)
        answer = write_frame(Kind.ANSWER, self.context, self.index, body, key=signing_key)
        phase = Unmasked(
            terms=self.terms,
            round_id=self.round_id,
            index=self.index,
            context=self.context,
            holders=self.holders,
            survivors=self.survivors,
            survivors_digest=self.survivors_digest,
            message=self.message,
            answer=answer,
        )
        return phase, answer

    def _opening(self, place: int, site: int) -> bytes:
        start = place * SHARES_BYTES + (0 if site in self.survivors else OPENING_BYTES)
        return self.shares[start : start + OPENING_BYTES]


class Unmasked(_RoundPhase):
    """The site answered. It repeats that answer and gives no other for this round, in this attempt or a later one."""

    kind: Literal["unmasked/1"] = "unmasked/1"
    survivors: tuple[int, ...]
    survivors_digest: bytes
    message: bytes
    answer: SecretBytes


RoundPhase = Masked | ConsistencySigned | Unmasked
"""What a site remembers of a round."""
_ROUND_PHASES: TypeAdapter[RoundPhase] = TypeAdapter(Annotated[RoundPhase, Field(discriminator="kind")])


def restore_round(content: bytes) -> RoundPhase:
    """The stored phase of a round.

    Raises:
        CheckpointError: If it is none. The message shows nothing of it.
    """
    try:
        return _ROUND_PHASES.validate_json(undamaged(content))
    except ValueError:
        raise CheckpointError(
            "expected a stored phase of a round of a secure sum, got other bytes",
            remedy="restore the file; without it this site must not take part in the round again",
        ) from None


def check_request(phase: ConsistencySigned | Unmasked, request: Bytes) -> None:
    """Check that enough survivors signed the set that this site signed.

    Args:
        phase: Of the site.
        request: From the server.

    Raises:
        SecureSumRefusedError: ``other_survivors``, ``unknown_survivor`` or ``too_few_signatures``; and as ``read_frames``.
    """
    frames = read_frames(
        request, Kind.UNMASK, Kind.CONSISTENCY, phase.context, terms=phase.terms, body_bytes=HASH_BYTES
    )
    for frame in frames:
        name = phase.terms.members[frame.sender].site
        if frame.body != phase.survivors_digest:
            raise refused("other_survivors", "expected signatures under the set that this site signed", site=name)
        if frame.sender not in phase.survivors:
            raise refused("unknown_survivor", "expected signatures of survivors, got one of another site", site=name)
    least = phase.terms.threshold
    if len(frames) < least:
        raise refused("too_few_signatures", f"expected signatures of at least {least} survivors, got {len(frames)}")
