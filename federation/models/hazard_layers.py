"""Layers of survival models: one number for each record, and what makes it the hazards of several intervals.

Axis names: R records, K intervals.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

START: Final = -3.0
"""Where intercepts start: an event for one in twenty in each interval. From 0, nearly everyone would start with one."""


class RelativeHazard(nn.Linear):
    """``[R, in]`` to ``[R, 1]``: the logarithm of a record's hazard against others.

    It has no intercept, which nothing would tell apart from a baseline, and starts at zero: all alike, as in FLamby's linear Cox
    model.

    Args:
        in_features: Width of what it reads.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 1, bias=False)


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
