"""Settings of secure aggregation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from federation.documents import Document
from federation.protocol.secure_sum.layout import FEWEST_BITS, WORD_BITS
from federation.study.masked_spec import MaskedSpec


class MaskedChoice(Document):
    """Ranges and thresholds of ``masked``."""

    norm_bound: Annotated[float, Field(gt=0)] = 10.0
    """L2 bound of an update; a site shortens a longer one itself."""
    value_range: Annotated[float, Field(gt=0)] | None = None
    """A coordinate is clipped to plus or minus this; ``None``: the norm's bound, which no coordinate can pass."""
    threshold: Annotated[int, Field(ge=3)] | None = None
    """Shares that open a secret; ``None``: two thirds of the sites and one."""
    rounds_per_agreement: Annotated[int, Field(ge=1, le=64)] = 10
    update_bits: Annotated[int, Field(ge=FEWEST_BITS, le=WORD_BITS)] = WORD_BITS
    """Of each number of a masked update on its way; fewer are coarser."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    held_out_bound: Annotated[float, Field(ge=0)] | None = None
    """Roll a round back whose loss on held-out records is that much above the best so far; ``None``: never."""

    def agreed(self) -> MaskedSpec:
        """What the sites agree on."""
        return MaskedSpec(
            value_range=self.norm_bound if self.value_range is None else self.value_range,
            norm_bound=self.norm_bound,
            threshold=self.threshold,
            rounds_per_agreement=self.rounds_per_agreement,
            update_bits=self.update_bits,
            attempts=self.attempts,
            held_out_bound=self.held_out_bound,
        )
