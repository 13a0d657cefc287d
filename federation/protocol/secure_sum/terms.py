"""What all parties agree on before a secure sum: who takes part, and how many must be left."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from federation.documents import Document
from federation.errors import InvalidInputError, ManifestError
from federation.identifiers import SiteId
from federation.protocol.ledger_head import Hexadecimal

FEWEST_SITES: Final = 3
"""A sum of two is a difference away from each of them."""
MOST_SITES: Final = 1000
MOST_ROUNDS: Final = 64
"""Rounds of one key agreement."""
_DIGESTS: Final[dict[str, str]] = {}
"""Of terms that were met, by their text."""
_MOST_DIGESTS: Final = 64
_BATCH_TAG: Final = b"cohortium/secure-sum/batch/1\0"


def recommended_threshold(sites: int) -> int:
    """Two thirds of the sites and one more: safe while less than a third of them conspire with a lying server.

    Bonawitz et al. 2017, Theorem 6.5 and Figure 4.
    """
    return max(FEWEST_SITES, 2 * sites // 3 + 1)


class Member(Document):
    """One site of the roster."""

    site: SiteId
    public_key: Hexadecimal
    """Its Ed25519 identity key."""


class SecureSumTerms(Document):
    """The public terms of a study's secure sums. Every key and every message is bound to their digest."""

    study: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Digest of the study's manifest."""
    members: Annotated[tuple[Member, ...], Field(min_length=FEWEST_SITES, max_length=MOST_SITES)]
    """In the order of their names."""
    threshold: int
    """Shares that open a secret, and signatures that a survivor set needs: more than half of the sites, at least three."""
    minimum_survivors: int
    """A sum of fewer sites is never opened: at least the threshold."""

    @classmethod
    def agreed(
        cls,
        *,
        study: str,
        public_keys: Mapping[str, str],
        threshold: int | None = None,
        minimum_survivors: int | None = None,
    ) -> SecureSumTerms:
        """Terms for these sites.

        Args:
            study: The manifest's digest.
            public_keys: Hexadecimal Ed25519 key of each site.
            threshold: As in the field; two thirds and one more if not given.
            minimum_survivors: As in the field; the threshold if not given.

        Raises:
            ManifestError: If the terms would not protect a site.
        """
        least = recommended_threshold(len(public_keys)) if threshold is None else threshold
        members = [{"site": site, "public_key": key} for site, key in sorted(public_keys.items())]
        data = {
            "study": study,
            "members": members,
            "threshold": least,
            "minimum_survivors": least if minimum_survivors is None else minimum_survivors,
        }
        return cls.from_data(data, error=ManifestError)

    @model_validator(mode="after")
    def _protects(self) -> Self:
        names = [member.site for member in self.members]
        if names != sorted(set(names)):
            raise ValueError("expected members in the order of their names, each once")
        if len({member.public_key for member in self.members}) != len(names):
            raise ValueError("expected an identity key of its own for every site")
        if not max(FEWEST_SITES, len(names) // 2 + 1) <= self.threshold <= len(names):
            raise ValueError(
                f"expected a threshold above half of {len(names)} sites, at least {FEWEST_SITES} and at most all, "
                f"got {self.threshold}"
            )
        if not self.threshold <= self.minimum_survivors <= len(names):
            raise ValueError(
                f"expected minimum_survivors from the threshold {self.threshold} to {len(names)}, "
                f"got {self.minimum_survivors}"
            )
        return self

    @property
    def digest(self) -> str:
        """As of every document. It goes into each message of a sum, so it is worked out once for equal terms."""
        text = self.model_dump_json()
        known = _DIGESTS.get(text)
        if known is None:
            if len(_DIGESTS) >= _MOST_DIGESTS:
                _DIGESTS.clear()
            known = _DIGESTS[text] = super().digest
        return known

    @property
    def tolerated_conspirators(self) -> int:
        """Sites that may conspire with a lying server without opening another site's vector.

        Two survivor sets need ``2 * threshold`` signatures, and an honest site gives one; the conspirators' own shares
        must not reach the threshold.
        """
        return min(self.threshold - 1, 2 * self.threshold - len(self.members) - 1)

    def index_of(self, site: str) -> int:
        """Position of a site in the roster.

        Raises:
            InvalidInputError: If it is not a member.
        """
        for index, member in enumerate(self.members):
            if member.site == site:
                return index
        raise InvalidInputError(
            f"expected a site of the roster, got {site!r}", remedy="add it to the manifest as a new version"
        )

    def names(self, indices: tuple[int, ...]) -> tuple[str, ...]:
        """Names of the sites at these positions."""
        return tuple(self.members[index].site for index in indices)


class KeyBatch(Document):
    """Which sums one key agreement is for. A repeated attempt is a new batch with new keys."""

    purpose: SiteId
    """What is summed, a short name such as ``train``: sums of different purposes share nothing."""
    first_round: Annotated[int, Field(ge=0, lt=2**31)]
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 1
    attempt: Annotated[int, Field(ge=0, lt=2**16)] = 0

    def context(self, terms: SecureSumTerms) -> bytes:
        """32 bytes that name the terms and this batch."""
        content = terms.digest.encode() + b"\0" + self.canonical_bytes()
        return hashlib.sha256(_BATCH_TAG + content).digest()

    def position(self, round_number: int) -> int:
        """Position of a round in the batch.

        Raises:
            InvalidInputError: If the batch is not for that round.
        """
        if not 0 <= round_number - self.first_round < self.rounds:
            last = self.first_round + self.rounds - 1
            raise InvalidInputError(
                f"expected a round from {self.first_round} to {last}, got {round_number}",
                remedy="agree on keys for that round first",
            )
        return round_number - self.first_round

    def again(self, round_number: int) -> KeyBatch:
        """The next attempt, for a round and the rest of its batch.

        Raises:
            InvalidInputError: If the batch is not for that round.
        """
        rest = self.rounds - self.position(round_number)
        return KeyBatch(purpose=self.purpose, first_round=round_number, rounds=rest, attempt=self.attempt + 1)
