"""What a secure sum is of, and what it gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aggregator.witnessing import HeadKeeper
from federation.protocol.messages import Envelope
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.opening import SecureSum
from federation.protocol.secure_sum.terms import KeyBatch


@dataclass(frozen=True)
class SumRequest:
    """What a sum is of.

    Args:
        purpose: From :func:`federation.study.secure_sums.purpose_of`.
        round_number: 0 for preparation, from 1 otherwise.
        layout: How many numbers every site sends.
        content: What every site receives; its hash is bound into the masks.
        envelope_for: (site, batch of keys) to the request for that site.
        accept: Called with a site and the header of its reply before its numbers are added; raises to leave it out.
    """

    purpose: str
    round_number: int
    layout: Layout
    content: Envelope = field(repr=False)
    envelope_for: Callable[[str, KeyBatch], Envelope] = field(repr=False)
    accept: Callable[[str, Envelope], None] = field(repr=False)
    keeper: HeadKeeper | None = field(default=None, repr=False)
    """Of the ledgers that are charged; what it witnessed is kept with the sum."""
    sites: frozenset[str] | None = None
    """Sites that are asked, of those that hold keys; ``None``: all."""


@dataclass(frozen=True)
class OpenedSum:
    """A sum, who is in it, and why the others are not."""

    total: SecureSum = field(repr=False)
    dropouts: Mapping[str, str]

    @property
    def survivors(self) -> tuple[str, ...]:
        """Sites in the sum, in roster order of their names."""
        return self.total.survivors
