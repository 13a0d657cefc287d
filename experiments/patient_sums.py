"""Weighted sums over records, one for each weighting of the patients: the arithmetic that all resampled metrics share.

Axis names: B weightings, P patients, R records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.predictions import FloatArray, Scored

Weights = NDArray[np.uint16]
_CELLS_AT_ONCE: Final = 1_000_000
"""Matrix cells held at a time: 8 MB of float64."""


def patient_sums(records: Scored, weights: Weights, terms: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Weighted sums over records, ``[B]`` each: summed per patient first, then one matrix product.

    Args:
        records: Say which patient a record belongs to.
        weights: ``[B, P]``.
        terms: Name to ``[R]``.
    """
    num_patients = weights.shape[1]
    per_patient = np.stack(
        [np.bincount(records.patient_of_record, weights=term, minlength=num_patients) for term in terms.values()],
        axis=1,
    )
    totals = np.concatenate([block.astype(np.float64) @ per_patient for block in blocks(weights, num_patients)])
    return dict(zip(terms, totals.T, strict=True))


def blocks(weights: Weights, width: int) -> list[Weights]:
    """The weightings in parts, so that a matrix of ``width`` columns for each part stays small."""
    rows = max(1, _CELLS_AT_ONCE // max(1, width))
    return [weights[start : start + rows] for start in range(0, max(1, len(weights)), rows)]


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient; NaN where the denominator is not positive."""
    undefined = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
