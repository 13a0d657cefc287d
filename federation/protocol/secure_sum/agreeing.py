"""A site agrees on keys for a batch of rounds: ``Advertised`` ▶ ``KeysAgreed`` ▶ ``SharesHeld``.

Every step gives the next phase, to be stored before the message beside it is sent. Bonawitz et al. 2017, Figure 4, rounds 0 and 1.
"""

from __future__ import annotations

from typing import Final, Literal

from federation.errors import InvalidInputError
from federation.protocol.secure_sum import contexts, key_agreement
from federation.protocol.secure_sum.messages import (
    HASH_BYTES,
    OPENING_BYTES,
    SALT_BYTES,
    SHARES_BYTES,
    Advertisement,
    Parcel,
    read_key_list,
    read_parcels,
)
from federation.protocol.secure_sum.phases import Phase, SecretBytes, SecretList
from federation.protocol.secure_sum.shamir import RandomBytes, draw_element, split
from federation.protocol.secure_sum.terms import KeyBatch, SecureSumTerms
from federation.protocol.secure_sum.wire import Bytes, Kind, refused, write_frame, write_list
from federation.protocol.signatures import SigningKey

_SECRETS: Final[tuple[contexts.Secret, contexts.Secret]] = ("seed", "key")


class Advertised(Phase):
    """The site made its keys and said which."""

    kind: Literal["advertised/1"] = "advertised/1"
    terms: SecureSumTerms
    batch: KeyBatch
    index: int
    """The site's position in the roster."""
    sealing_key: SecretBytes
    mask_keys: SecretList
    """Private, one for each round."""
    seeds: SecretList
    """Of the site's own mask, one for each round."""

    @classmethod
    def begin(
        cls, terms: SecureSumTerms, batch: KeyBatch, *, site: str, signing_key: SigningKey, random_bytes: RandomBytes
    ) -> tuple[Advertised, bytes]:
        """Make keys for a batch.

        Args:
            terms: The study's.
            batch: Which rounds and attempt.
            site: The site's own name.
            signing_key: Its identity, as in the roster.
            random_bytes: Cryptographic source, never used for another batch or attempt.

        Returns:
            The phase, and the advertisement for the server.

        Raises:
            InvalidInputError: If the site or its key is not in the roster.
        """
        index = terms.index_of(site)
        if terms.members[index].public_key != signing_key.public_key:
            raise InvalidInputError(
                f"expected the identity key of site {site!r} as in the roster, got another",
                remedy="enrol the new key in a new version of the manifest",
            )
        phase = cls(
            terms=terms,
            batch=batch,
            index=index,
            sealing_key=draw_element(random_bytes),
            mask_keys=tuple(draw_element(random_bytes) for _ in range(batch.rounds)),
            seeds=tuple(draw_element(random_bytes) for _ in range(batch.rounds)),
        )
        context = batch.context(terms)
        body = phase._advertisement(context).body()
        return phase, write_frame(Kind.ADVERTISEMENT, context, index, body, key=signing_key)

    def _advertisement(self, context: bytes) -> Advertisement:
        return Advertisement(
            site=self.index,
            sealing_key=key_agreement.public_key(self.sealing_key),
            mask_keys=tuple(key_agreement.public_key(key) for key in self.mask_keys),
            seed_commitments=tuple(
                contexts.seed_commitment(context, site=self.index, position=position, seed=seed)
                for position, seed in enumerate(self.seeds)
            ),
        )

    def agree(self, key_list: Bytes, *, signing_key: SigningKey, random_bytes: RandomBytes) -> tuple[KeysAgreed, bytes]:
        """Check everybody's keys, and share the site's secrets among them.

        Args:
            key_list: From the server.
            signing_key: The site's identity.
            random_bytes: As in :meth:`begin`.

        Returns:
            The next phase, and the parcels for the server.

        Raises:
            SecureSumRefusedError: As :func:`~federation.protocol.secure_sum.messages.read_key_list`; also
                ``own_key_changed`` and ``low_order_key``.
        """
        context = self.batch.context(self.terms)
        listed = read_key_list(key_list, context, terms=self.terms, rounds=self.batch.rounds)
        if self._advertisement(context) not in listed:
            raise refused("own_key_changed", "expected this site's own keys in the list, got others or none")
        agreement = contexts.agreement_context(context, bytes(key_list))
        phase = KeysAgreed(
            terms=self.terms,
            batch=self.batch,
            index=self.index,
            agreement=agreement,
            sealing_key=self.sealing_key,
            seeds=self.seeds,
            peers=tuple(item.site for item in listed),
            pair_secrets=tuple(
                b"".join(self._pair_secret(context, position, item) for item in listed)
                for position in range(self.batch.rounds)
            ),
        )
        return phase, self._deal(agreement, listed, signing_key, random_bytes)

    def _pair_secret(self, context: bytes, position: int, peer: Advertisement) -> bytes:
        """The secret of a pair in a round; zeros for the site itself."""
        if peer.site == self.index:
            return bytes(key_agreement.KEY_BYTES)
        low, high = sorted((self.index, peer.site))
        info = contexts.pair_info(context, position=position, low=low, high=high)
        try:
            return key_agreement.agreed_secret(
                self.mask_keys[position], peer.mask_keys[position], salt=context, info=info
            )
        except InvalidInputError as failure:
            name = self.terms.members[peer.site].site
            raise refused("low_order_key", "expected an X25519 key of full order", site=name) from failure

    def _deal(
        self, agreement: bytes, listed: tuple[Advertisement, ...], key: SigningKey, random_bytes: RandomBytes
    ) -> bytes:
        points = [item.site + 1 for item in listed]
        threshold = self.terms.threshold
        shares = [
            split(secret, threshold=threshold, points=points, random_bytes=random_bytes)
            for secrets in zip(self.seeds, self.mask_keys, strict=True)
            for secret in secrets
        ]
        frames: list[bytes] = []
        for item in listed:
            openings = [of_secret[item.site + 1] + random_bytes(SALT_BYTES) for of_secret in shares]
            parcel = self._parcel(agreement, item, openings)
            frames.append(write_frame(Kind.PARCEL, agreement, self.index, parcel.body(), key=key))
        return write_list(Kind.PARCELS, agreement, frames)

    def _parcel(self, agreement: bytes, recipient: Advertisement, openings: list[bytes]) -> Parcel:
        commitments = _commitments(agreement, dealer=self.index, recipient=recipient.site, openings=openings)
        info = contexts.seal_info(agreement, dealer=self.index, recipient=recipient.site)
        try:
            sealed = key_agreement.seal(b"".join(openings), to=recipient.sealing_key, info=info)
        except InvalidInputError as failure:
            name = self.terms.members[recipient.site].site
            raise refused("low_order_key", "expected an X25519 key of full order", site=name) from failure
        return Parcel(dealer=self.index, recipient=recipient.site, commitments=commitments, sealed=sealed)


def _commitments(agreement: bytes, *, dealer: int, recipient: int, openings: list[bytes]) -> bytes:
    """For each round the hash of the share of the seed, then of the key."""
    return b"".join(
        contexts.share_commitment(
            agreement,
            dealer=dealer,
            recipient=recipient,
            position=number // 2,
            secret=_SECRETS[number % 2],
            opening=opening,
        )
        for number, opening in enumerate(openings)
    )


class KeysAgreed(Phase):
    """The site knows everybody's keys and has dealt its shares."""

    kind: Literal["keys_agreed/1"] = "keys_agreed/1"
    terms: SecureSumTerms
    batch: KeyBatch
    index: int
    agreement: bytes
    sealing_key: SecretBytes
    seeds: SecretList
    peers: tuple[int, ...]
    """Sites of the list of keys, this one included."""
    pair_secrets: SecretList
    """For each round 32 bytes for each of ``peers``."""

    def hold(self, parcels: Bytes) -> SharesHeld:
        """Open the shares that the others dealt to this site.

        Args:
            parcels: From the server, one for each site that dealt.

        Raises:
            SecureSumRefusedError: ``duplicate``, ``wrong_recipient``, ``unknown_dealer``, ``too_few_sites``,
                ``own_shares_missing``, ``sealed_for_another`` or ``changed_share``; and as ``read_parcels``.
        """
        rounds = self.batch.rounds
        received = [item for item, _ in read_parcels(parcels, self.agreement, terms=self.terms, rounds=rounds)]
        dealers = tuple(item.dealer for item in received)
        if list(dealers) != sorted(set(dealers)):
            raise refused("duplicate", "expected one parcel of each site, in the roster's order")
        if not set(dealers) <= set(self.peers):
            raise refused("unknown_dealer", "expected parcels of sites of the list of keys, got one of another")
        if self.index not in dealers:
            raise refused("own_shares_missing", "expected this site among those that dealt, it is left out")
        if len(dealers) < self.terms.minimum_survivors:
            least = self.terms.minimum_survivors
            raise refused("too_few_sites", f"expected parcels of at least {least} sites, got {len(dealers)}")
        opened = [self._open(item) for item in received]
        size = key_agreement.KEY_BYTES
        starts = [self.peers.index(dealer) * size for dealer in dealers]
        return SharesHeld(
            terms=self.terms,
            batch=self.batch,
            index=self.index,
            agreement=self.agreement,
            holders=dealers,
            seeds=self.seeds,
            pair_secrets=tuple(
                b"".join(secrets[start : start + size] for start in starts) for secrets in self.pair_secrets
            ),
            shares=tuple(
                b"".join(content[position * SHARES_BYTES : (position + 1) * SHARES_BYTES] for content in opened)
                for position in range(rounds)
            ),
        )

    def _open(self, parcel: Parcel) -> bytes:
        name = self.terms.members[parcel.dealer].site
        if parcel.recipient != self.index:
            raise refused("wrong_recipient", "expected a parcel for this site, got one for another", site=name)
        info = contexts.seal_info(self.agreement, dealer=parcel.dealer, recipient=self.index)
        content = key_agreement.open_sealed(parcel.sealed, private=self.sealing_key, info=info)
        if content is None:
            raise refused("sealed_for_another", "expected shares sealed to this site, they do not open", site=name)
        openings = [content[start : start + OPENING_BYTES] for start in range(0, len(content), OPENING_BYTES)]
        known = _commitments(self.agreement, dealer=parcel.dealer, recipient=self.index, openings=openings)
        if known != parcel.commitments or len(known) != self.batch.rounds * 2 * HASH_BYTES:
            raise refused("changed_share", "expected the shares that were committed to, got others", site=name)
        return content


class SharesHeld(Phase):
    """The site holds shares of everybody's secrets and can take part in the rounds of the batch."""

    kind: Literal["shares_held/1"] = "shares_held/1"
    terms: SecureSumTerms
    batch: KeyBatch
    index: int
    agreement: bytes
    holders: tuple[int, ...]
    """Sites that dealt shares, this one included: nobody else is in these rounds."""
    seeds: SecretList
    pair_secrets: SecretList
    """For each round 32 bytes for each of ``holders``."""
    shares: SecretList
    """For each round 96 bytes for each of ``holders``: the share of its seed and of its key, each with a salt."""
