"""How the centre reaches sites and gets sums, whatever carries the bytes and whether or not they are masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from federation.protocol.messages import SecureSumRequest
from federation.protocol.secure_sum.terms import KeyBatch
from federation.statistics.requests import StepRequest
from federation.statistics.wide_sums import Words


class SiteLink(Protocol):
    """One site. A call that does not come back raises :class:`~federation.errors.TransportError`."""

    def open_answer(self, request: StepRequest) -> Words:
        """The site's part of a sum, for everybody to see."""
        ...

    def masked_answer(self, request: StepRequest, batch: KeyBatch) -> bytes:
        """The site's part of a sum, masked."""
        ...

    def secure_step(self, header: SecureSumRequest, payload: bytes) -> bytes:
        """A step of the protocol beside the contributions."""
        ...


Links = Mapping[str, SiteLink]


@dataclass(frozen=True)
class Summed:
    """One sum.

    Args:
        total: ``[length]`` of the step.
        sites: In the sum.
        lost: Sites that were asked and are not in it, with the reason.
    """

    total: NDArray[np.float64] = field(repr=False)
    sites: tuple[str, ...]
    lost: Mapping[str, str]


class Sums(Protocol):
    """Takes sums of steps over sites."""

    def sum(self, request: StepRequest, sites: Sequence[str]) -> Summed:
        """One sum over the sites that answer.

        Raises:
            QuorumError: If too few do.
            CohortiumError: What a site refuses on grounds of its records or of privacy; losing a site is for other reasons.
        """
        ...
