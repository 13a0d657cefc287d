"""Poisson log-likelihood with log link: counts, such as days in hospital.

Axis names: R records.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

LARGEST_LOG_RATE: Final = 60.0
"""Outputs beyond it count as this: exp(60) is finite in float32, and nothing is counted so often."""


def count_losses(outputs: Tensor, outcomes: Tensor) -> Tensor:
    """Negative log-likelihood of counts (McCullagh & Nelder 1989, section 6.2).

    Args:
        outputs: ``[R, 1]`` logarithms of the expected counts.
        outcomes: ``[R]`` counts from 0.

    Returns:
        ``[R]`` in nats, with the constant ``log y!``.
    """
    log_rate = outputs[:, 0].clamp(max=LARGEST_LOG_RATE)
    return log_rate.exp() - outcomes * log_rate + torch.lgamma(outcomes + 1)


def count_gradients(outputs: Tensor, outcomes: Tensor) -> Tensor:
    """:func:`count_losses` differentiated by the outputs ``[..., 1]``."""
    inside = (outputs <= LARGEST_LOG_RATE).to(outputs.dtype)
    return (outputs.clamp(max=LARGEST_LOG_RATE).exp() - outcomes.unsqueeze(-1)) * inside


def expected_counts(outputs: Tensor) -> Tensor:
    """``[R]`` the expected counts, in the outcome's unit."""
    return outputs[:, 0].clamp(max=LARGEST_LOG_RATE).exp()
