"""Bounding one patient's influence: the L2 norm of a patient's summed gradient is at most the clipping norm.

Clipped gradients are then expressed as whole multiples of a public grid step. Sums of whole numbers are exact in any
order, so what is released is (whole number that depends on patients) + (whole number that does not): the low-order bits
that reveal the summands of a floating-point sum (Mironov 2012; Haney et al. 2022) do not exist. Cutting towards zero
never lengthens a vector, so the sensitivity stays exactly the clipping norm.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.checks import positive

GRID_BITS: Final = 24
"""The grid step is the clipping norm / 2**24: far below the noise, and sums of 2**29 patients stay below 2**53."""

_SMALLEST: Final = 1e-140
_LARGEST: Final = 1e140
"""Between these, a norm from plain squares is accurate."""

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
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        norms = np.sqrt(np.einsum("pd,pd->p", gradients, gradients))
    # Squares of huge or tiny numbers leave the range of float64, and NaN has no norm: measure these few rows again.
    for row in np.flatnonzero(~((norms > _SMALLEST) & (norms < _LARGEST))):
        norms[row] = _careful_norm(gradients[row])
    factors = clipping_norm / np.maximum(norms, clipping_norm)
    with np.errstate(invalid="ignore"):
        clipped = gradients * factors[:, None]
    # Not left to the factor zero: zero times NaN is NaN.
    clipped[np.isinf(norms)] = 0.0
    return clipped


def _careful_norm(gradient: FloatArray) -> float:
    """The L2 norm without overflow or underflow; infinite if an entry is not finite."""
    largest = float(np.max(np.abs(gradient), initial=0.0))
    if not math.isfinite(largest):
        return math.inf
    return largest * float(np.linalg.norm(gradient / largest)) if largest else 0.0


def to_grid(clipped: FloatArray, *, clipping_norm: float, grid_bits: int = GRID_BITS) -> FloatArray:
    """Express clipped gradients in whole grid steps, cut towards zero.

    Args:
        clipped: ``[P, D]`` or ``[D]``.
        clipping_norm: Positive.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.

    Returns:
        Whole numbers as float64, which holds them exactly. No row is longer than before.
    """
    scaled = clipped * (2.0**grid_bits / clipping_norm)
    return np.trunc(scaled, out=scaled)


def clipped_sum(
    gradients: FloatArray, *, clipping_norm: float, grid_bits: int = GRID_BITS, room: float = 0.0
) -> FloatArray:
    """Clip the patients' gradients and add them up in grid steps.

    Args:
        gradients: ``[P, D]``, one row per patient; P may be 0.
        clipping_norm: Positive.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
        room: By which part the gradients are clipped shorter, where something else moves with the same patient
            (:mod:`federation.privacy.summation`).

    Returns:
        ``[D]`` whole numbers as float64. Adding or removing a patient changes it by at most ``(1 - room) 2**grid_bits`` in
        L2 norm.
    """
    clipped = clip(gradients, clipping_norm=clipping_norm * (1.0 - room))
    return to_grid(clipped, clipping_norm=clipping_norm, grid_bits=grid_bits).sum(axis=0)
