"""What a table may show: no cell, and no difference of cells, that tells about fewer patients than the threshold.

Primary suppression hides counts from 1 to one below the threshold. In a cross-tabulation whose margins are shown, one hidden cell
of a row is its margin less the others, so complementary suppression hides a second (Hundepool et al. 2012, Statistical Disclosure
Control, sections 4.2 and 4.3). Zeros are shown: they say that there is nobody, which a small count does not.

Axis names: p columns.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import PrivacyRefusedError
from federation.statistics.design import Design

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

DEFAULT_THRESHOLD: Final = 5
"""Patients of the smallest count that is shown."""
_PATIENTS_PER_COLUMN: Final = 3
"""As in DataSHIELD, whose regressions have at most about a third as many parameters as patients."""


def is_small(counts: FloatArray, threshold: int) -> Mask:
    """Where a count tells about too few patients: from 1 to the threshold less one."""
    rounded = np.rint(counts)
    return (rounded > 0) & (rounded < threshold)


def check_total(patients: int, threshold: int) -> None:
    """Refuse an analysis of too few patients.

    Raises:
        PrivacyRefusedError: If there are fewer than the threshold.
    """
    if patients < threshold:
        raise PrivacyRefusedError(
            f"expected at least {threshold} patients in an analysis, got fewer",
            remedy="widen the selection",
            reason="too_few_patients",
        )


def check_columns_are_safe(gram: FloatArray, design: Design, *, patients: int, threshold: int) -> None:
    """Refuse a regression that would describe single patients.

    Args:
        gram: ``[p, p]`` cross products; of an indicator, the diagonal counts its patients.
        design: The columns.
        patients: In the sums.
        threshold: Fewest patients of a level, and of its complement.

    Raises:
        PrivacyRefusedError: If a level has too few patients, or there are too many columns.
    """
    check_total(patients, threshold)
    if threshold <= 1:
        return
    width = len(design.columns)
    if width * _PATIENTS_PER_COLUMN > patients:
        raise PrivacyRefusedError(
            f"expected at least {_PATIENTS_PER_COLUMN} patients for each of {width} columns, got {patients}",
            remedy="use fewer terms: so many columns describe single patients",
            reason="too_many_columns",
        )
    for place, column in enumerate(design.columns):
        if column.is_indicator and is_small(gram[place, place], threshold):
            raise PrivacyRefusedError(
                f"expected 0 or at least {threshold} patients in {column.name}, got fewer",
                remedy="merge the level with another, or leave the term out",
                reason="small_level",
            )


def suppress_counts(counts: FloatArray, threshold: int) -> Mask:
    """Where a one-way table with a shown total hides its counts: the small ones, and if there is one only, the next smallest too.

    Args:
        counts: ``[k]``.
        threshold: Smallest count that is shown.
    """
    hidden = is_small(counts, threshold)
    _hide_second(counts, hidden, threshold)
    return hidden


def suppress_table(counts: FloatArray, threshold: int) -> Mask:
    """Where a cross-tabulation with shown margins hides its counts.

    Every row and column with hidden cells hides at least two, together of at least the threshold, until nothing changes.

    Args:
        counts: ``[rows, columns]``.
        threshold: Smallest count that is shown.

    Returns:
        ``[rows, columns]``; all hidden if no smaller choice protects them.
    """
    hidden = is_small(counts, threshold)
    while True:
        before = int(hidden.sum())
        for row in range(counts.shape[0]):
            _hide_second(counts[row], hidden[row], threshold)
        for column in range(counts.shape[1]):
            _hide_second(counts[:, column], hidden[:, column], threshold)
        if int(hidden.sum()) == before:
            return hidden


def _hide_second(line: FloatArray, hidden: Mask, threshold: int) -> None:
    """Hide more of one line, in place: smallest counts first, none that is zero unless nothing else is left."""
    while hidden.any() and not hidden.all() and (hidden.sum() < 2 or line[hidden].sum() < threshold):  # noqa: PLR2004
        candidates = np.flatnonzero(~hidden)
        occupied = candidates[line[candidates] > 0]
        chosen = occupied if len(occupied) else candidates
        hidden[chosen[int(np.argmin(line[chosen]))]] = True
