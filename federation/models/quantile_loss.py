"""Pinball loss: several quantiles of a number at once.

Axis names: R records, K levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from federation.models.task_terms import QuantileTerms


def quantile_losses(terms: QuantileTerms, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """Pinball loss, summed over the levels (Koenker & Bassett 1978).

    Args:
        terms: Levels.
        outputs: ``[R, K]`` quantiles in scaled units.
        outcomes: ``[R]`` scaled outcomes.

    Returns:
        ``[R]`` in scaled units.
    """
    above = outcomes.unsqueeze(-1) - outputs
    levels = _levels(terms, outputs)
    return torch.maximum(levels * above, (levels - 1) * above).sum(dim=-1)


def quantile_gradients(terms: QuantileTerms, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """:func:`quantile_losses` differentiated by the outputs ``[..., K]``; in the kink, the middle of the two slopes."""
    above = outcomes.unsqueeze(-1) - outputs
    levels = _levels(terms, outputs)
    # The middle is what automatic differentiation of a maximum gives, too.
    return torch.where(above > 0, -levels, torch.where(above < 0, 1 - levels, 0.5 - levels))


def _levels(terms: QuantileTerms, outputs: Tensor) -> Tensor:
    return torch.tensor(terms.levels, dtype=outputs.dtype, device=outputs.device)
