"""Segmentation: what a predicted mask costs and how well it agrees with the truth, record by record.

The loss of a record is the mean binary cross entropy over its pixels plus the soft Dice loss (Milletari et al. 2016, V-Net, sec. 3;
squares in the denominator as there), so that small masks count as much as large ones. Evaluation never keeps a mask: a record is
summed up in four numbers, :func:`agreement`, that add up over records and sites.

Dice of two empty masks is 1: there was nothing to find, and nothing was found.

Axis names: R records, K pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

FloatArray = NDArray[np.float64]

NAMES: Final = frozenset({"count", "dice", "intersection", "predicted", "truth", "log_loss"})
"""Metric sums of a segmentation: number of records, sum of their Dice, pixels found rightly, found, true, sum of their losses."""
AGREEMENT: Final = 4
"""Columns of :func:`agreement`."""
_SMOOTH: Final = 1.0
"""Of the soft Dice loss, in pixels: it stays finite, with a gradient, where the mask is empty."""


def losses(outputs: Tensor, masks: Tensor) -> Tensor:
    """``[R]`` mean cross entropy over the pixels plus soft Dice loss, of logits ``[R, K]`` and masks ``[R, K]``."""
    entropy = functional.binary_cross_entropy_with_logits(outputs, masks, reduction="none").mean(dim=1)
    said = torch.sigmoid(outputs)
    overlap = (said * masks).sum(dim=1)
    size = said.square().sum(dim=1) + masks.square().sum(dim=1)
    return entropy + 1 - (2 * overlap + _SMOOTH) / (size + _SMOOTH)


def agreement(outputs: Tensor, masks: Tensor) -> Tensor:
    """How well each record's mask was found.

    Args:
        outputs: ``[R, K]`` logits; a pixel is found where they are positive.
        masks: ``[R, K]`` 0 and 1.

    Returns:
        ``[R, 4]`` float32: pixels found rightly, pixels found, pixels of the mask, mean cross entropy.
    """
    found, true = (outputs > 0).float(), (masks > 0.5).float()  # noqa: PLR2004 - between 0 and 1
    entropy = functional.binary_cross_entropy_with_logits(outputs, masks, reduction="none").mean(dim=1)
    return torch.stack([(found * true).sum(dim=1), found.sum(dim=1), true.sum(dim=1), entropy], dim=1)


def record_dice(agreements: FloatArray) -> FloatArray:
    """``[R]`` Dice of each record (Dice 1945), from ``[R, 4]`` of :func:`agreement`."""
    size = agreements[:, 1] + agreements[:, 2]
    return np.where(size > 0, 2 * agreements[:, 0] / np.where(size > 0, size, 1.0), 1.0)


def sums(agreements: FloatArray) -> dict[str, FloatArray]:
    """Additive sums over records; names as in :data:`NAMES`."""
    totals = agreements.sum(axis=0) if len(agreements) else np.zeros(AGREEMENT)
    found = {
        "count": float(len(agreements)),
        "dice": float(record_dice(agreements).sum()),
        "intersection": totals[0],
        "predicted": totals[1],
        "truth": totals[2],
        "log_loss": totals[3],
    }
    return {name: np.array([float(value)]) for name, value in found.items()}


def derived(arrays: Mapping[str, FloatArray]) -> dict[str, float]:
    """``count dice pixel_dice log_loss``: Dice as the mean over records, and of all pixels together."""
    values = {name: float(array[0]) for name, array in arrays.items()}
    if not values["count"]:
        return {"count": 0.0}
    size = values["predicted"] + values["truth"]
    return {
        "count": values["count"],
        "dice": values["dice"] / values["count"],
        "pixel_dice": 2 * values["intersection"] / size if size else 1.0,
        "log_loss": values["log_loss"] / values["count"],
    }
