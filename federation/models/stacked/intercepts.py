"""Intercepts of the intervals of survival models, of several sites at once.

Axis names: K intervals, S sites, B records of a site.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from federation.models.stacked.layers import Cache
from federation.models.stacked.sinks import GradientSink, Span


@dataclass(frozen=True)
class InterceptsLayer:
    """:class:`~federation.models.hazard_layers.IntervalIntercepts` of several sites, as :mod:`federation.models.stacked.layers`."""

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
