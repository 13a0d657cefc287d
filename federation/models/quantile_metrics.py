"""Performance of predicted quantiles, as sums over records.

Axis names: R records, K levels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.models.task_terms import QuantileTerms

FloatArray = NDArray[np.float64]


def quantile_lengths(terms: QuantileTerms) -> dict[str, int]:
    """Name to length of the sums."""
    levels = len(terms.levels)
    return {"count": 1, "crossed": 1, "covered": levels, "pinball": levels}


def pinball(terms: QuantileTerms, said: FloatArray, truth: FloatArray) -> FloatArray:
    """``[R, K]`` pinball loss at each level, in the unit of predictions and outcomes."""
    levels, above = np.asarray(terms.levels), truth[:, None] - said
    return np.maximum(levels * above, (levels - 1) * above)


def quantile_sums(terms: QuantileTerms, said: FloatArray, truth: FloatArray) -> dict[str, FloatArray]:
    """The sums.

    Args:
        terms: Levels.
        said: ``[R, K]`` quantiles.
        truth: ``[R]`` outcomes in the same unit.
    """
    return {
        "count": np.array([float(len(truth))]),
        "crossed": np.array([float(np.any(np.diff(said, axis=1) < 0, axis=1).sum())]),
        "covered": (truth[:, None] <= said).sum(axis=0).astype(np.float64),
        "pinball": pinball(terms, said, truth).sum(axis=0),
    }


def derive_quantile(terms: QuantileTerms, arrays: Mapping[str, FloatArray]) -> dict[str, float]:
    """Always ``count``; ``pinball`` (mean over levels), ``crossing``, and ``pinball_<level>`` and ``coverage_<level>``.

    A coverage should equal its level. ``coverage_error`` is the mean absolute difference; ``crossing`` the share of records at
    which a higher quantile is predicted below a lower one.
    """
    count = float(arrays["count"][0])
    if not count:
        return {"count": 0.0}
    losses, covered = arrays["pinball"] / count, arrays["covered"] / count
    found = {
        "count": count,
        "pinball": float(losses.mean()),
        "coverage_error": float(np.abs(covered - np.asarray(terms.levels)).mean()),
        "crossing": float(arrays["crossed"][0]) / count,
    }
    for level, loss, share in zip(terms.levels, losses, covered, strict=True):
        found |= {f"pinball_{level:g}": float(loss), f"coverage_{level:g}": float(share)}
    return found
