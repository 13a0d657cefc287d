"""Sums of what sites send in the open: for generated and public records, and to compare with. Same numbers as masked sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aggregator.statistics.links import Links, Summed
from federation.errors import QuorumError, TransportError
from federation.statistics.requests import StepRequest


@dataclass(frozen=True)
class OpenSums:
    """Adds up whole numbers, so that the order of sites changes nothing.

    Args:
        links: To the sites.
        quorum: Fewest sites of a sum.
    """

    links: Links
    quorum: int = 1

    def sum(self, request: StepRequest, sites: Sequence[str]) -> Summed:
        """See :class:`~aggregator.statistics.links.Sums`."""
        total = np.zeros(request.step.num_words, dtype=np.int64)
        taken: list[str] = []
        lost: dict[str, str] = {}
        for site in sites:
            try:
                words = self.links[site].open_answer(request)
            except TransportError as failure:
                lost[site] = type(failure).__name__
                continue
            if words.shape != total.shape:
                lost[site] = "other_length"
                continue
            total += words
            taken.append(site)
        if len(taken) < self.quorum:
            raise QuorumError(
                f"expected answers of at least {self.quorum} sites, got {len(taken)}", remedy="wait for more sites"
            )
        return Summed(total=request.step.opened(total), sites=tuple(taken), lost=lost)
