"""Bounding one patient's influence: the L2 norm of a patient's summed gradient is at most the clipping norm.

Clipped gradients are then expressed as whole multiples of a public grid step. Sums of whole numbers are exact in any order, so
what is released is (whole number that depends on patients) + (whole number that does not): the low-order bits that reveal the
summands of a floating-point sum (Mironov 2012; Haney et al. 2022) do not exist. Cutting towards zero never lengthens a vector,
so the sensitivity stays exactly the clipping norm.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.checks import positive

GRID_BITS: Final = 24
"""The grid step is the clipping norm / 2**24: far below the noise, and sums of 2**29 patients stay below 2**53."""

FloatArray = NDArray[np.float64]


def grid_step(clipping_norm: float) -> float:
    """Distance between neighbouring releasable values of the sum, in units of the gradient."""
    return clipping_norm * 2.0**-GRID_BITS


def clip(gradients: FloatArray, *, clipping_norm: float) -> FloatArray:
    """Shorten every row to the clipping norm; keep its direction.

    A row that is not finite becomes zero: its patient is left out of the step and nobody else is touched.

    Args:
        gradients: ``[P, D]``, one row per patient: the sum over the patient's records.
        clipping_norm: Positive.

    Returns:
        ``[P, D]``; rows of norm at most ``clipping_norm (1 + 1e-12)``. Rows that are short enough are unchanged.

    Raises:
        InvalidInputError: If the clipping norm is not positive.
    """
    positive(clipping_norm=clipping_norm)
    # Dividing by the largest entry first keeps the square of a huge gradient finite and that of a tiny one above zero.
    largest = np.max(np.abs(gradients), axis=1, initial=0.0)
    usable = np.isfinite(largest)
    finite = np.where(usable[:, None], gradients, 0.0)
    scale = np.where(usable & (largest > 0), largest, 1.0)
    norms = scale * np.sqrt(np.einsum("pd,pd->p", finite / scale[:, None], finite / scale[:, None]))
    factors = np.minimum(1.0, clipping_norm / np.maximum(norms, clipping_norm))
    return finite * factors[:, None]


def to_grid(clipped: FloatArray, *, clipping_norm: float) -> FloatArray:
    """Express clipped gradients in whole grid steps, cut towards zero.

    Args:
        clipped: ``[P, D]`` or ``[D]``.
        clipping_norm: Positive.

    Returns:
        Whole numbers as float64, which holds them exactly. No row is longer than before.
    """
    return np.trunc(clipped * (2.0**GRID_BITS / clipping_norm))


def clipped_sum(gradients: FloatArray, *, clipping_norm: float) -> FloatArray:
    """Clip the patients' gradients and add them up in grid steps.

    Args:
        gradients: ``[P, D]``, one row per patient; P may be 0.
        clipping_norm: Positive.

    Returns:
        ``[D]`` whole numbers as float64. Adding or removing a patient changes it by at most ``2**24`` in L2 norm.
    """
    return to_grid(clip(gradients, clipping_norm=clipping_norm), clipping_norm=clipping_norm).sum(axis=0)
