"""Exact test of Hardy-Weinberg equilibrium (Wigginton, Cutler & Abecasis 2005).

Given n people with m copies of the rarer allele, the chance of h heterozygotes is in proportion to
``2**h / (hom_rare! h! hom_common!)``. The p-value adds up the chances that are not above the observed one.

Axis names: V variants.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

_TIE: Final = 1e-8
"""Chances that differ by less, relatively, are the same number computed in two ways."""


def hardy_weinberg_p(genotypes: FloatArray) -> FloatArray:
    """P-values.

    Args:
        genotypes: ``[V, 3]`` people with 0, 1 and 2 copies.

    Returns:
        ``[V]``; 1 where there is nobody or one allele only.
    """
    counts = np.rint(genotypes).astype(np.int64)
    people = counts.sum(axis=1)
    rare = np.minimum(2 * counts[:, 0] + counts[:, 1], 2 * counts[:, 2] + counts[:, 1])
    found = np.ones(len(counts))
    order = np.lexsort((rare, people))
    log_factorials = _log_factorials(int(people.max(initial=0)))
    start = 0
    while start < len(order):
        stop = start
        n, m = int(people[order[start]]), int(rare[order[start]])
        while stop < len(order) and people[order[stop]] == n and rare[order[stop]] == m:
            stop += 1
        if m > 0:
            chosen = order[start:stop]
            chances = _chances(n, m, log_factorials)
            for place in chosen.tolist():
                observed = chances[counts[place, 1] // 2]
                found[place] = min(1.0, float(chances[chances <= observed * (1 + _TIE)].sum()))
        start = stop
    return found


def _log_factorials(most: int) -> FloatArray:
    return np.concatenate([np.zeros(1), np.cumsum(np.log(np.arange(1, most + 1, dtype=np.float64)))])


def _chances(people: int, rare: int, log_factorials: FloatArray) -> FloatArray:
    """Of every possible number of heterozygotes: rare % 2, rare % 2 + 2, ..., rare."""
    hets = np.arange(rare % 2, rare + 1, 2)
    hom_rare = (rare - hets) // 2
    hom_common = people - hets - hom_rare
    logs = hets * np.log(2.0) - log_factorials[hom_rare] - log_factorials[hets] - log_factorials[hom_common]
    chances = np.exp(logs - logs.max())
    return chances / chances.sum()
