"""The server opens a sum: it checks the shares that survivors showed, recovers the masks and takes them away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from federation.errors import InvalidInputError, SecureSumError
from federation.protocol.secure_sum import contexts, key_agreement
from federation.protocol.secure_sum.collecting import BatchReady
from federation.protocol.secure_sum.layout import Layout, Ring32, Ring64
from federation.protocol.secure_sum.masking import Mask, mask
from federation.protocol.secure_sum.messages import OPENING_BYTES, Advertisement, read_answer, read_survivors
from federation.protocol.secure_sum.shamir import ELEMENT_BYTES, Recombination
from federation.protocol.secure_sum.wire import Bytes, refused

MASKS_AT_A_TIME: Final = 64
"""Their states fit in the cache beside the block."""


@dataclass(frozen=True)
class SecureSum:
    """An opened sum.

    Args:
        updates: Modulo 2**32, ``[updates]``.
        statistics: Modulo 2**64, ``[statistics]``.
        survivors: The sites that are in it.
        lost: The sites of the batch that are not.
    """

    updates: Ring32 = field(repr=False)
    statistics: Ring64 = field(repr=False)
    survivors: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class _MaskKey:
    """A mask that is left in the sum, and whether taking it away means adding."""

    key: bytes = field(repr=False)
    is_added: bool


@dataclass(frozen=True)
class AwaitingAnswers:
    """Answers to the request to unmask come in. The masked sum in here is safe to store; alone it says nothing."""

    ready: BatchReady
    round_number: int
    layout: Layout
    model_hash: bytes
    context: bytes
    survivors: tuple[int, ...]
    digest: bytes
    wide: Ring64 = field(repr=False)
    narrow: Ring32 = field(repr=False)
    answers: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def again(
        cls,
        ready: BatchReady,
        *,
        round_number: int,
        layout: Layout,
        model_hash: bytes,
        announcement: Bytes,
        wide: Ring64,
        narrow: Ring32,
    ) -> AwaitingAnswers:
        """The phase as it was before the first answer, from what was stored of it.

        Args:
            ready: The batch.
            round_number: One of its rounds.
            layout: How many numbers every site sent.
            model_hash: SHA-256 of the model that was sent to the sites, 32 bytes.
            announcement: What was announced: the receipts of the survivors.
            wide: ``[layout.words_64]``, the masked sum; changed in place.
            narrow: ``[layout.words_32]``, likewise.

        Raises:
            InvalidInputError: If the batch is not for that round.
            SecureSumRefusedError: If the announcement is of another round, attempt, model or layout.
        """
        ready.batch.position(round_number)
        context = contexts.round_context(ready.agreement, holders=ready.holders, round_number=round_number)
        receipts = read_survivors(announcement, context, terms=ready.terms)
        sizes = (wide.size, narrow.size) == (layout.words_64, layout.words_32)
        if not sizes or any((item.model_hash, item.layout) != (model_hash, layout) for item in receipts):
            raise refused("other_model", "expected the masked sum of just this round, got another")
        return cls(
            ready=ready,
            round_number=round_number,
            layout=layout,
            model_hash=model_hash,
            context=context,
            survivors=tuple(item.site for item in receipts),
            digest=contexts.survivors_digest(bytes(announcement)),
            wide=wide,
            narrow=narrow,
        )

    @property
    def _position(self) -> int:
        return self.ready.batch.position(self.round_number)

    def _secret_of(self, site: int) -> contexts.Secret:
        return "seed" if site in self.survivors else "key"

    def add(self, answer: Bytes) -> AwaitingAnswers:
        """Take one, and check every share in it against what its dealer committed to.

        Raises:
            SecureSumRefusedError: ``unknown_survivor``, ``other_survivors`` or ``wrong_share``; and as ``read_answer``.
        """
        holders = self.ready.holders
        terms = self.ready.terms
        sender, digest, openings = read_answer(answer, self.context, terms=terms, holders=len(holders))
        name = terms.members[sender].site
        if sender not in self.survivors:
            raise refused("unknown_survivor", "expected the answer of a survivor, got another site's", site=name)
        if digest != self.digest:
            raise refused("other_survivors", "expected an answer for the announced set", site=name)
        for place, dealer in enumerate(holders):
            place_of = {"dealer": dealer, "recipient": sender, "position": self._position}
            secret = self._secret_of(dealer)
            opening = openings[place * OPENING_BYTES : (place + 1) * OPENING_BYTES]
            known = self.ready.commitment(**place_of, secret=secret)
            if contexts.share_commitment(self.ready.agreement, **place_of, secret=secret, opening=opening) != known:
                raise refused("wrong_share", "expected the share that was dealt to this site, got another", site=name)
        return replace(self, answers={**self.answers, sender: openings})

    @property
    def is_enough(self) -> bool:
        """Whether the sum can be opened."""
        return len(self.answers) >= self.ready.terms.threshold

    def open(self) -> SecureSum:
        """Recover the masks and take them from the running sum, in place: a phase opens once.

        Raises:
            SecureSumError: ``too_few_answers``; ``dealt_wrongly``: a site's shares are not of the secret that it advertised;
                ``check_words``: some mask did not cancel.
        """
        terms = self.ready.terms
        senders = tuple(sorted(self.answers))[: terms.threshold]
        if len(senders) < terms.threshold:
            raise SecureSumError(
                f"expected answers of at least {terms.threshold} survivors, got {len(senders)}; nothing was opened",
                remedy="ask the survivors again: they repeat their answers",
                reason="too_few_answers",
                sites=",".join(terms.names(senders)),
            )
        remaining = self._remaining(senders)
        for start in range(0, len(remaining), MASKS_AT_A_TIME):
            some = [Mask(item.key, is_added=item.is_added) for item in remaining[start : start + MASKS_AT_A_TIME]]
            mask(self.wide, self.narrow, some)
        if not self.layout.has_count(self.wide, self.narrow, survivors=len(self.survivors)):
            raise SecureSumError(
                f"expected {len(self.survivors)} in every check word of the sum, got other numbers: a mask is left over",
                remedy="begin the next attempt with new keys; if it happens again, a site runs other software",
                reason="check_words",
                sites=",".join(terms.names(self.survivors)),
            )
        wide, narrow = self.layout.numbers(self.wide, self.narrow)
        lost = tuple(site for site in self.ready.holders if site not in self.survivors)
        return SecureSum(updates=narrow, statistics=wide, survivors=terms.names(self.survivors), lost=terms.names(lost))

    def _remaining(self, senders: tuple[int, ...]) -> list[_MaskKey]:
        """Keys of all masks that are left in the sum: own masks of survivors, and pairs of a survivor and a lost site."""
        recombination = Recombination([sender + 1 for sender in senders])
        advertised = self.ready.advertisements()
        batch_context = self.ready.batch.context(self.ready.terms)
        keys: list[_MaskKey] = []
        for place, dealer in enumerate(self.ready.holders):
            start = place * OPENING_BYTES
            shares = {sender + 1: self.answers[sender][start : start + ELEMENT_BYTES] for sender in senders}
            try:
                secret = recombination.secret(shares)
            except InvalidInputError as failure:  # committed to, and yet no element of the field
                raise self._dealt_wrongly(dealer) from failure
            if dealer in self.survivors:
                self._expect_seed(batch_context, advertised[dealer], secret)
                keys.append(_MaskKey(self._mask_key(secret, dealer, dealer), is_added=False))
            else:
                self._expect_key(advertised[dealer], secret)
                keys.extend(self._pairs(batch_context, advertised, dealer, secret))
        return keys

    def _pairs(
        self, batch_context: bytes, advertised: Mapping[int, Advertisement], lost: int, private: bytes
    ) -> list[_MaskKey]:
        keys: list[_MaskKey] = []
        for survivor in self.survivors:
            low, high = sorted((lost, survivor))
            info = contexts.pair_info(batch_context, position=self._position, low=low, high=high)
            public = advertised[survivor].mask_keys[self._position]
            secret = key_agreement.agreed_secret(private, public, salt=batch_context, info=info)
            # The survivor added the mask if it comes first in the roster.
            keys.append(_MaskKey(self._mask_key(secret, low, high), is_added=survivor > lost))
        return keys

    def _mask_key(self, secret: bytes, low: int, high: int) -> bytes:
        info = contexts.mask_info(self.context, model_hash=self.model_hash, layout=self.layout, low=low, high=high)
        return key_agreement.expand(secret, info=info)

    def _expect_seed(self, batch_context: bytes, of: Advertisement, seed: bytes) -> None:
        known = contexts.seed_commitment(batch_context, site=of.site, position=self._position, seed=seed)
        if known != of.seed_commitments[self._position]:
            raise self._dealt_wrongly(of.site)

    def _expect_key(self, of: Advertisement, private: bytes) -> None:
        if key_agreement.public_key(private) != of.mask_keys[self._position]:
            raise self._dealt_wrongly(of.site)

    def _dealt_wrongly(self, site: int) -> SecureSumError:
        name = self.ready.terms.members[site].site
        return SecureSumError(
            f"expected shares of the secret that site {name} advertised, they are of another; nothing was opened",
            remedy="begin the next attempt without that site, and ask it which software it runs",
            reason="dealt_wrongly",
            sites=name,
        )
