"""What a study with secure aggregation fixes in advance: ranges, thresholds and how often keys are agreed on."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from federation.documents import Document
from federation.protocol.secure_sum.layout import FEWEST_BITS, WORD_BITS
from federation.protocol.secure_sum.quantization import StatisticsEncoding, UpdateEncoding
from federation.protocol.secure_sum.terms import FEWEST_SITES, MOST_ROUNDS, recommended_threshold

STATISTICS_BITS: Final = 20
"""Binary places of a statistic; counts are exact, sums of losses to a millionth."""
_LARGEST_STATISTIC: Final = 2.0**31


class MaskedSpec(Document):
    """Secure aggregation: the aggregator sees sums over sites, never a site's numbers."""

    value_range: Annotated[float, Field(gt=0)]
    """A coordinate of an update is clipped to plus or minus this before it is masked."""
    norm_bound: Annotated[float, Field(gt=0)]
    """L2 bound of an update; a site shortens a longer one itself, since nobody else can see it."""
    threshold: Annotated[int, Field(ge=FEWEST_SITES)] | None = None
    """Shares that open a secret, and signatures that a set of survivors needs; ``None``: two thirds of the sites and one."""
    rounds_per_agreement: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 10
    """Rounds for which sites agree on keys at once."""
    held_out_bound: Annotated[float, Field(ge=0)] | None = None
    """How much above the best so far the loss on the aggregator's held-out records may be before a round is rolled back;
    ``None``: no such gate."""
    update_bits: Annotated[int, Field(ge=FEWEST_BITS, le=WORD_BITS, exclude_if=lambda bits: bits == WORD_BITS)] = (
        WORD_BITS
    )
    """Of each number of a masked update on its way. Left out of the canonical bytes at 32, so that a manifest has the
    digest that it had before there was a choice."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """A round that cannot be opened is tried again with new keys, so often at most in all."""

    def threshold_of(self, sites: int) -> int:
        """The threshold for that many sites."""
        return recommended_threshold(sites) if self.threshold is None else self.threshold

    def updates(self, total_weight: int, *, sites: int) -> UpdateEncoding:
        """How updates become whole numbers.

        Raises:
            InvalidInputError: If the weights do not fit in the ring.
        """
        return UpdateEncoding(
            value_range=self.value_range, total_weight=total_weight, sites=sites, bits=self.update_bits
        )


def statistics_encoding(sites: int) -> StatisticsEncoding:
    """How counts and sums become whole numbers."""
    return StatisticsEncoding(largest=_LARGEST_STATISTIC, sites=sites, fraction_bits=STATISTICS_BITS)
