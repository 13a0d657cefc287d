"""The server sums a round without seeing a part of it.

``AwaitingInputs`` ▶ ``AwaitingSignatures`` ▶ ``AwaitingAnswers`` ▶ ``SecureSum``.
One running sum, whatever the number of sites: a contribution is added as it arrives and forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from federation.errors import SecureSumError
from federation.protocol.secure_sum import contexts
from federation.protocol.secure_sum.collecting import BatchReady
from federation.protocol.secure_sum.layout import Layout, Ring32, Ring64
from federation.protocol.secure_sum.messages import HASH_BYTES, RECEIPT_BYTES, Receipt, read_receipt
from federation.protocol.secure_sum.opening import AwaitingAnswers
from federation.protocol.secure_sum.packing import unpacked
from federation.protocol.secure_sum.wire import Bytes, Kind, read_frame, read_list, refused, write_list


@dataclass(frozen=True)
class AwaitingInputs:
    """Contributions come in. The running sum is changed in place, so only the newest of these values is used.

    Args:
        ready: The batch.
        round_number: One of its rounds.
        layout: How many numbers everybody sends.
        model_hash: SHA-256 of the model that was sent out.
    """

    ready: BatchReady
    round_number: int
    layout: Layout
    model_hash: bytes
    context: bytes
    wide: Ring64 = field(repr=False)
    narrow: Ring32 = field(repr=False)
    announced: tuple[bytes, ...] = ()
    """Receipts of an announcement that was sent out before a crash: no other set is possible any more."""
    receipts: Mapping[int, bytes] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        ready: BatchReady,
        *,
        round_number: int,
        layout: Layout,
        model_hash: bytes,
        announcement: Bytes | None = None,
    ) -> AwaitingInputs:
        """Begin a round.

        Args:
            ready: The batch.
            round_number: One of its rounds.
            layout: How many numbers every site sends.
            model_hash: SHA-256 of the model that was sent to the sites, 32 bytes.
            announcement: What was announced for this very attempt before a crash, if it got so far: sites signed that set
                and no other, so just its survivors are taken again.

        Raises:
            InvalidInputError: If the batch is not for that round.
            SecureSumRefusedError: If the announcement is not one of this attempt.
        """
        ready.batch.position(round_number)
        context = contexts.round_context(ready.agreement, holders=ready.holders, round_number=round_number)
        announced: tuple[bytes, ...] = ()
        if announcement is not None:
            most = len(ready.terms.members)
            announced = tuple(read_list(announcement, Kind.SURVIVORS, context, item_bytes=RECEIPT_BYTES, most=most))
        return cls(
            ready=ready,
            round_number=round_number,
            layout=layout,
            model_hash=model_hash,
            context=context,
            announced=announced,
            wide=np.zeros(layout.words_64, dtype="<u8"),
            narrow=np.zeros(layout.words_32, dtype="<u4"),
        )

    def fold(self, contribution: Bytes) -> AwaitingInputs:
        """Add a contribution to the running sum.

        Args:
            contribution: From a site. Not kept.

        Raises:
            SecureSumRefusedError: ``malformed``, ``unknown_survivor``, ``other_model``, ``other_layout``, ``changed_payload``,
                ``second_message``; and as ``read_receipt``. The sum is as before.
        """
        receipt, frame = self._receipt(contribution)
        name = self.ready.terms.members[receipt.site].site
        if receipt.site in self.receipts:
            if self.receipts[receipt.site] != frame:
                raise refused("second_message", "expected one contribution, got a different second one", site=name)
            return self
        payload = memoryview(contribution)[: self.layout.payload_bytes]
        if hashlib.sha256(payload).digest() != receipt.payload_hash:
            raise refused("changed_payload", "expected the numbers that the site signed, got others", site=name)
        wide, narrow = unpacked(payload, self.layout)
        np.add(self.wide, wide, out=self.wide)
        np.add(self.narrow, narrow, out=self.narrow)
        return replace(self, receipts={**self.receipts, receipt.site: frame})

    def _receipt(self, contribution: Bytes) -> tuple[Receipt, bytes]:
        size = self.layout.payload_bytes
        if len(contribution) != size + RECEIPT_BYTES:
            raise refused("malformed", f"expected {size + RECEIPT_BYTES} bytes, got {len(contribution)}")
        frame = bytes(contribution[size:])
        receipt = self._receipt_of(frame)
        name = self.ready.terms.members[receipt.site].site
        if receipt.site not in self.ready.holders:
            raise refused("unknown_survivor", "expected a site whose shares are held, got another", site=name)
        if receipt.model_hash != self.model_hash:
            raise refused("other_model", "expected numbers from the model that was sent out", site=name)
        if receipt.layout != self.layout:
            raise refused("other_layout", "expected as many numbers as agreed", site=name)
        if self.announced and frame not in self.announced:
            raise refused("not_announced", "expected a survivor of the set that was announced before", site=name)
        return receipt, frame

    @property
    def possible(self) -> tuple[int, ...]:
        """Positions of the sites whose contribution could be folded: those that were announced, if it came to that, or all."""
        if not self.announced:
            return self.ready.holders
        return tuple(self._receipt_of(frame).site for frame in self.announced)

    def _receipt_of(self, frame: bytes) -> Receipt:
        return read_receipt(frame, self.context, terms=self.ready.terms)

    @property
    def contributors(self) -> tuple[str, ...]:
        """Sites whose numbers are in the sum."""
        return self.ready.terms.names(tuple(sorted(self.receipts)))

    def close(self) -> tuple[AwaitingSignatures, bytes]:
        """End the wait: whoever has not come is lost for this attempt.

        Returns:
            The next phase, and the announcement for every survivor.

        Raises:
            SecureSumError: ``too_few_survivors``. Nothing was opened and nothing can be.
        """
        survivors = tuple(sorted(self.receipts))
        least = max(self.ready.terms.minimum_survivors, len(self.announced))
        if len(survivors) < least:
            raise SecureSumError(
                f"expected contributions of at least {least} sites, got {len(survivors)}; nothing was opened",
                remedy="begin the next attempt with new keys, or stop the study",
                reason="too_few_survivors",
                sites=",".join(self.contributors),
            )
        announcement = write_list(Kind.SURVIVORS, self.context, [self.receipts[site] for site in survivors])
        phase = AwaitingSignatures(
            inputs=self,
            survivors=survivors,
            announcement=announcement,
            digest=contexts.survivors_digest(announcement),
        )
        return phase, announcement


@dataclass(frozen=True)
class AwaitingSignatures:
    """Signatures of the set of survivors come in."""

    inputs: AwaitingInputs
    survivors: tuple[int, ...]
    announcement: bytes
    digest: bytes
    signatures: Mapping[int, bytes] = field(default_factory=dict)

    def add(self, signature: Bytes) -> AwaitingSignatures:
        """Take one.

        Raises:
            SecureSumRefusedError: ``unknown_survivor``, ``other_survivors``, or as ``read_frame``.
        """
        terms = self.inputs.ready.terms
        frame = read_frame(signature, Kind.CONSISTENCY, self.inputs.context, terms=terms, body_bytes=HASH_BYTES)
        name = terms.members[frame.sender].site
        if frame.sender not in self.survivors:
            raise refused("unknown_survivor", "expected the signature of a survivor, got another site's", site=name)
        if frame.body != self.digest:
            raise refused("other_survivors", "expected a signature under the announced set", site=name)
        return replace(self, signatures={**self.signatures, frame.sender: frame.content})

    def close(self) -> tuple[AwaitingAnswers, bytes]:
        """End the wait.

        Returns:
            The next phase, and the request to unmask for every survivor.

        Raises:
            SecureSumError: ``too_few_signatures``. Nothing was opened.
        """
        terms = self.inputs.ready.terms
        signed = tuple(sorted(self.signatures))
        if len(signed) < terms.threshold:
            raise SecureSumError(
                f"expected signatures of at least {terms.threshold} survivors, got {len(signed)}; nothing was opened",
                remedy="begin the next attempt with new keys, or stop the study",
                reason="too_few_signatures",
                sites=",".join(terms.names(signed)),
            )
        request = write_list(Kind.UNMASK, self.inputs.context, [self.signatures[site] for site in signed])
        phase = AwaitingAnswers(
            ready=self.inputs.ready,
            round_number=self.inputs.round_number,
            layout=self.inputs.layout,
            model_hash=self.inputs.model_hash,
            context=self.inputs.context,
            survivors=self.survivors,
            digest=self.digest,
            wide=self.inputs.wide,
            narrow=self.inputs.narrow,
        )
        return phase, request
