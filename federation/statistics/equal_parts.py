"""Patients in order of their predicted risk, cut into parts of about equal size that may be shown.

Axis names: B bins of a histogram of risks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def equal_parts(negative: FloatArray, positive: FloatArray, *, parts: int, threshold: int) -> list[slice]:
    """Runs of neighbouring bins with about the same number of patients.

    Runs are joined until each has nobody or at least the threshold with the outcome, and the same without: a share of two in forty
    tells about the two.

    Args:
        negative: ``[B]`` patients without the outcome.
        positive: ``[B]`` patients with it.
        parts: Runs at most.
        threshold: Smallest count that may show.

    Returns:
        From the lowest risks up, covering every patient; none for no patients.
    """
    counts = negative + positive
    if not counts.sum():
        return []
    runs: list[slice] = []
    stop = len(counts)
    # From the highest risks down: that is where most of the outcomes are, so the fewest runs have to be joined.
    for start in reversed([0, *_edges(np.cumsum(counts), parts)[:-1]]):
        if not _tells(negative[start:stop], threshold) and not _tells(positive[start:stop], threshold):
            runs.insert(0, slice(start, stop))
            stop = start
    while stop > 0:
        # What is left over at the bottom tells about too few: it goes to the run above.
        stop = runs.pop(0).stop if runs else len(counts)
        whole = slice(0, stop)
        if not runs or not (_tells(negative[whole], threshold) or _tells(positive[whole], threshold)):
            return [whole, *runs]
    return runs


def _edges(cumulative: FloatArray, parts: int) -> list[int]:
    """Ends of runs, each where the next part of the patients is complete."""
    wanted = cumulative[-1] * np.arange(1, parts + 1) / parts
    ends = np.unique(np.searchsorted(cumulative, wanted - 1e-9, side="left") + 1)
    ends[-1] = len(cumulative)
    return [int(end) for end in np.unique(ends)]


def _tells(counts: FloatArray, threshold: int) -> bool:
    return 0 < float(counts.sum()) < threshold
