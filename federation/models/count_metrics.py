"""Performance of models of counts, as sums over records.

Axis names: R records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

FloatArray = NDArray[np.float64]

COUNT_NAMES: Final = frozenset(
    {"count", "outcome", "predicted", "outcome_entropy", "deviance", "squared_error", "absolute_error"}
)
_SMALLEST_RATE: Final = 1e-30
"""An expected count below this counts as this: no record is infinitely wrong."""


def unit_deviance(said: FloatArray, truth: FloatArray) -> FloatArray:
    """``[R]`` Poisson deviance, ``2 (y log(y / m) - (y - m))`` (McCullagh & Nelder 1989, section 2.3).

    Args:
        said: ``[R]`` expected counts.
        truth: ``[R]`` counts.
    """
    rate = np.maximum(said, _SMALLEST_RATE)
    return np.maximum(2 * (xlogy(truth, truth) - xlogy(truth, rate) - (truth - rate)), 0.0)


def count_sums(said: FloatArray, truth: FloatArray) -> dict[str, FloatArray]:
    """The sums, each ``[1]``.

    Args:
        said: ``[R]`` expected counts.
        truth: ``[R]`` counts.
    """
    found = {
        "count": float(len(truth)),
        "outcome": truth.sum(),
        "predicted": said.sum(),
        "outcome_entropy": xlogy(truth, truth).sum(),
        "deviance": unit_deviance(said, truth).sum(),
        "squared_error": np.square(said - truth).sum(),
        "absolute_error": np.abs(said - truth).sum(),
    }
    return {name: np.array([float(value)]) for name, value in found.items()}


def derive_count(arrays: Mapping[str, FloatArray]) -> dict[str, float]:
    """Always ``count``; ``deviance`` (mean), ``deviance_explained``, ``rmse``, ``mae``, ``mean_error`` and ``calibration_ratio``.

    ``deviance_explained`` compares with the mean count of the same records. ``calibration_ratio`` is calibration in the large:
    observed over expected. What the records do not define is left out.
    """
    sums = {name: float(array[0]) for name, array in arrays.items()}
    count, outcome = sums["count"], sums["outcome"]
    if not count:
        return {"count": 0.0}
    found = {
        "count": count,
        "deviance": sums["deviance"] / count,
        "rmse": float(np.sqrt(sums["squared_error"] / count)),
        "mae": sums["absolute_error"] / count,
        "mean_error": (sums["predicted"] - outcome) / count,
    }
    if sums["predicted"] > 0:
        found["calibration_ratio"] = outcome / sums["predicted"]
    null = 2 * (sums["outcome_entropy"] - float(xlogy(outcome, outcome / count)))
    if null > 1e-12 * max(sums["outcome_entropy"], 1.0):  # the difference of two sums carries their rounding
        found["deviance_explained"] = 1 - sums["deviance"] / null
    return found
