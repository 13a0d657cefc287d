"""The layer that makes one number the hazards of several intervals: proportional effects.

Axis names: R records, K intervals, S sites, B records of a site, D parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from federation.models.stacked.layers import Cache
from federation.models.stacked.sinks import GradientSink, Span

START: Final = -3.0
"""Where intercepts start: an event for one in twenty in each interval. From 0, nearly everyone would start with one."""


class IntervalIntercepts(nn.Module):
    """``[R, 1]`` to ``[R, K]``: the same number for every interval, plus the interval's own.

    Args:
        num_intervals: K.
    """

    def __init__(self, num_intervals: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.full((num_intervals,), START))

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        return inputs + self.shift


@dataclass(frozen=True)
class InterceptsLayer:
    """:class:`IntervalIntercepts` of several sites at once, see :mod:`federation.models.stacked.layers`."""

    shift: Span

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """``[S, B, 1]`` to ``[S, B, K]``."""
        return inputs + self.shift.view(theta).unsqueeze(1), None

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """A record's gradient of the intercepts is that of its outputs."""
        del theta, cache
        sink.rows(self.shift, gradient)
        return gradient.sum(dim=2, keepdim=True) if wants_input else None
