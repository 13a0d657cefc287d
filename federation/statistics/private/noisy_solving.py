"""Linear equations whose matrix and right side carry noise: no eigenvalue below what the noise alone reaches.

A symmetric matrix of independent noise has eigenvalues up to about ``2 s sqrt(p)`` (Wigner 1958), so a direction in which the
information is not above that is not told apart from none. Its eigenvalue is raised to the floor: a step in it stays short, and
where the score vanishes does not move.

Axis names: p columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_LONGEST_STEP: Final = 2.0
"""In scaled columns. Whatever the noise, coefficients stay finite."""
_TINY: Final = 1e-9


@dataclass(frozen=True)
class Floored:
    """A positive matrix near a noisy one.

    Args:
        inverse: ``[p, p]``.
        hidden: Directions that were raised to the floor.
    """

    inverse: FloatArray = field(repr=False)
    hidden: int


def floored_inverse(matrix: FloatArray, *, deviation: float) -> Floored:
    """The inverse of a noisy information, its eigenvalues floored at what noise alone reaches.

    Args:
        matrix: ``[p, p]``.
        deviation: Standard deviation of the noise of an entry.
    """
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    floor = max(deviation * float(np.sqrt(len(matrix))), _TINY * max(float(np.abs(values).max()), _TINY))
    kept = np.maximum(values, floor)
    return Floored(inverse=(vectors / kept) @ vectors.T, hidden=int((values < floor).sum()))


def limited(step: FloatArray) -> FloatArray:
    """A step shortened to a length that no noise makes diverge."""
    length = float(np.linalg.norm(step))
    return step * (_LONGEST_STEP / length) if length > _LONGEST_STEP else step


def noise_of_product(deviation: float, vector: FloatArray) -> FloatArray:
    """``[p, p]`` covariance of ``E v`` for a symmetric noise matrix E with independent entries in its upper triangle."""
    square = float(vector @ vector)
    return deviation**2 * (square * np.eye(len(vector)) + np.outer(vector, vector) - np.diag(vector**2))
