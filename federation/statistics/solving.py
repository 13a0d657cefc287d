"""Newton's equations with the faults of a design named: collinear columns, levels without a patient, separation.

Axis names: p columns.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError, StudyError

FloatArray = NDArray[np.float64]

_SMALLEST_EIGENVALUE: Final = 1e-11
"""Of the cross products of columns of length one; below it they are collinear to what float64 can tell."""
_PART: Final = 0.05
"""Columns with at least this part in the vanishing combination are named."""
MOST_STEPS: Final = 60
_DIVERGES_AFTER: Final = 12
_STEP_OF_DIVERGENCE: Final = 0.2


def check_columns(gram: FloatArray, names: tuple[str, ...]) -> None:
    """Check that no column is empty and that the columns are independent.

    Args:
        gram: ``[p, p]`` cross products over all sites.
        names: Of the columns.

    Raises:
        InvalidInputError: Naming the columns.
    """
    lengths = np.sqrt(np.diag(gram))
    empty = [name for name, length in zip(names, lengths, strict=True) if length == 0]
    if empty:
        raise InvalidInputError(
            f"expected patients in every column of the design, got none for {empty}",
            remedy="leave the term out, or merge the level with another in the contract",
            columns=empty,
        )
    values, vectors = np.linalg.eigh(gram / np.outer(lengths, lengths))
    if values[0] < _SMALLEST_EIGENVALUE:
        part = np.abs(vectors[:, 0])
        involved = [name for name, share in zip(names, part, strict=True) if share > _PART * part.max()]
        raise InvalidInputError(
            f"expected independent columns, got a collinear design: {involved} add up to nothing",
            remedy="leave one of these terms out of the formula",
            columns=involved,
        )


def solve(information: FloatArray, score: FloatArray) -> FloatArray | None:
    """``[p]`` the step of Newton's method; ``None`` if the information is singular."""
    scale = np.sqrt(np.diag(information))
    if not (np.isfinite(information).all() and np.all(scale > 0)):
        return None
    scaled = information / np.outer(scale, scale)
    if np.linalg.eigvalsh(scaled)[0] < np.finfo(float).eps:
        return None
    return np.linalg.solve(scaled, score / scale) / scale


def inverse(information: FloatArray) -> FloatArray:
    """``[p, p]`` covariance: the inverse, by columns of length one."""
    scale = np.sqrt(np.diag(information))
    found = np.linalg.inv(information / np.outer(scale, scale)) / np.outer(scale, scale)
    return (found + found.T) / 2


def check_divergence(step: FloatArray | None, names: tuple[str, ...], *, steps: int) -> None:
    """Check that the steps get shorter. Under separation each stays about as long as the one before: there is no finite estimate.

    Albert & Anderson 1984.

    Args:
        step: ``[p]`` the latest, in scaled columns; ``None``: the information is singular.
        names: Of the columns.
        steps: Taken so far.

    Raises:
        StudyError: Naming the column that grows fastest.
    """
    if step is not None and (steps < _DIVERGES_AFTER or float(np.abs(step).max()) < _STEP_OF_DIVERGENCE):
        if steps >= MOST_STEPS:
            raise StudyError(
                f"expected estimates after {MOST_STEPS} steps, they still move", remedy="use fewer terms, or ridge=1"
            )
        return
    name = "" if step is None else f"; {names[int(np.abs(step).argmax())]!r} grows without end"
    raise StudyError(
        f"expected finite estimates, got separation: a combination of columns tells all outcomes apart{name}",
        remedy="leave the term out, merge levels, or use ridge=1",
        reason="separation",
    )
