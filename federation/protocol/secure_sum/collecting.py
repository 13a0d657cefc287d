"""The server collects keys and shares for a batch of rounds: ``AwaitingKeys`` ▶ ``AwaitingShares`` ▶ ``BatchReady``.

It relays what sites sign and cannot read what they seal. Sites that stay away are left out of the batch, down to the
terms' minimum.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.errors import SecureSumError
from federation.protocol.secure_sum import contexts, key_agreement
from federation.protocol.secure_sum.messages import (
    HASH_BYTES,
    Advertisement,
    check_keys,
    read_advertisement,
    read_key_list,
    read_parcels,
)
from federation.protocol.secure_sum.phases import Phase
from federation.protocol.secure_sum.terms import KeyBatch, SecureSumTerms
from federation.protocol.secure_sum.wire import HEAD_BYTES, SIGNATURE_BYTES, Bytes, Frame, Kind, refused, write_list

BySite = Annotated[dict[int, bytes], Field(repr=False)]


def _expect_enough(terms: SecureSumTerms, sites: tuple[int, ...], what: str) -> None:
    if len(sites) < terms.minimum_survivors:
        raise SecureSumError(
            f"expected {what} of at least {terms.minimum_survivors} sites, got {len(sites)}",
            remedy="wait for more sites, or begin the next attempt",
            reason="too_few_sites",
            sites=",".join(terms.names(sites)),
        )


class AwaitingKeys(Phase):
    """Advertisements come in."""

    kind: Literal["awaiting_keys/1"] = "awaiting_keys/1"
    terms: SecureSumTerms
    batch: KeyBatch
    advertisements: BySite = {}

    def add(self, advertisement: Bytes) -> AwaitingKeys:
        """Take one. The first of a site counts; repeating it is fine, another is refused.

        Raises:
            SecureSumRefusedError: ``second_message``; ``malformed_key``, ``duplicate_key`` or ``low_order_key`` if the others would
                refuse its keys: one site must not end the batch of all; and as ``read_advertisement``.
        """
        context = self.batch.context(self.terms)
        frame = read_advertisement(advertisement, context, terms=self.terms, rounds=self.batch.rounds)
        if self.advertisements.get(frame.sender, frame.content) != frame.content:
            name = self.terms.members[frame.sender].site
            raise refused("second_message", "expected one advertisement, got a different second one", site=name)
        if frame.sender not in self.advertisements:
            self._check_keys(Advertisement.of(frame))
        return self.model_copy(update={"advertisements": {**self.advertisements, frame.sender: frame.content}})

    def _kept(self) -> list[Advertisement]:
        return [
            Advertisement.of(Frame(sender=site, body=content[HEAD_BYTES:-SIGNATURE_BYTES], content=content))
            for site, content in self.advertisements.items()
        ]

    def _check_keys(self, new: Advertisement) -> None:
        name = self.terms.members[new.site].site
        seen = {key for kept in self._kept() for key in kept.keys}
        check_keys(new, seen, name)
        if not all(key_agreement.is_full_order(key) for key in new.keys):
            raise refused("low_order_key", "expected an X25519 key of full order", site=name)

    def close(self) -> tuple[AwaitingShares, bytes]:
        """End the wait.

        Returns:
            The next phase, and the list of keys for every site that advertised.

        Raises:
            SecureSumError: ``too_few_sites``.
            SecureSumRefusedError: As ``read_key_list``, if a site's keys cannot be used.
        """
        sites = tuple(sorted(self.advertisements))
        _expect_enough(self.terms, sites, "keys")
        context = self.batch.context(self.terms)
        key_list = write_list(Kind.KEY_LIST, context, [self.advertisements[site] for site in sites])
        read_key_list(key_list, context, terms=self.terms, rounds=self.batch.rounds)
        return AwaitingShares(terms=self.terms, batch=self.batch, key_list=key_list, sites=sites), key_list


class AwaitingShares(Phase):
    """Parcels of sealed shares come in."""

    kind: Literal["awaiting_shares/1"] = "awaiting_shares/1"
    terms: SecureSumTerms
    batch: KeyBatch
    key_list: bytes
    sites: tuple[int, ...]
    bundles: BySite = {}

    @property
    def _agreement(self) -> bytes:
        return contexts.agreement_context(self.batch.context(self.terms), self.key_list)

    def add(self, bundle: Bytes) -> AwaitingShares:
        """Take the parcels of one site, one for every site of the list of keys.

        Raises:
            SecureSumRefusedError: ``wrong_recipients``, ``second_message``, or as ``read_parcels``.
        """
        parcels = [
            item for item, _ in read_parcels(bundle, self._agreement, terms=self.terms, rounds=self.batch.rounds)
        ]
        dealers = {item.dealer for item in parcels}
        if len(dealers) != 1 or tuple(item.recipient for item in parcels) != self.sites:
            raise refused("wrong_recipients", "expected one parcel of one site for each site of the list of keys")
        dealer = dealers.pop()
        name = self.terms.members[dealer].site
        if dealer not in self.sites:
            raise refused("unknown_dealer", "expected parcels of a site of the list of keys", site=name)
        content = bytes(bundle)
        if self.bundles.get(dealer, content) != content:
            raise refused("second_message", "expected one set of parcels, got a different second one", site=name)
        return self.model_copy(update={"bundles": {**self.bundles, dealer: content}})

    def close(self) -> tuple[BatchReady, dict[str, bytes]]:
        """End the wait.

        Returns:
            The next phase, and for every site that dealt the parcels that were dealt to it.

        Raises:
            SecureSumError: ``too_few_sites``.
        """
        holders = tuple(sorted(self.bundles))
        _expect_enough(self.terms, holders, "shares")
        agreement = self._agreement
        rounds = self.batch.rounds
        dealt = {
            dealer: read_parcels(self.bundles[dealer], agreement, terms=self.terms, rounds=rounds) for dealer in holders
        }
        places = {site: self.sites.index(site) for site in holders}
        outgoing = {
            self.terms.members[site].site: write_list(
                Kind.PARCELS, agreement, [dealt[dealer][places[site]][1] for dealer in holders]
            )
            for site in holders
        }
        commitments = {
            dealer: b"".join(dealt[dealer][places[site]][0].commitments for site in holders) for dealer in holders
        }
        ready = BatchReady(
            terms=self.terms,
            batch=self.batch,
            key_list=self.key_list,
            agreement=agreement,
            holders=holders,
            commitments=commitments,
        )
        return ready, outgoing


class BatchReady(Phase):
    """The rounds of the batch can begin."""

    kind: Literal["batch_ready/1"] = "batch_ready/1"
    terms: SecureSumTerms
    batch: KeyBatch
    key_list: bytes
    agreement: bytes
    holders: tuple[int, ...]
    commitments: BySite
    """Of each dealer: for each of ``holders``, for each round, 64 bytes."""

    def advertisements(self) -> dict[int, Advertisement]:
        """The public keys of every site of the list."""
        context = self.batch.context(self.terms)
        listed = read_key_list(self.key_list, context, terms=self.terms, rounds=self.batch.rounds)
        return {item.site: item for item in listed}

    def commitment(self, *, dealer: int, recipient: int, position: int, secret: contexts.Secret) -> bytes:
        """What the dealer committed to."""
        place = self.holders.index(recipient) * self.batch.rounds + position
        kinds: tuple[contexts.Secret, contexts.Secret] = ("seed", "key")
        start = (2 * place + kinds.index(secret)) * HASH_BYTES
        return self.commitments[dealer][start : start + HASH_BYTES]
