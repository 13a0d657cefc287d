"""The exact test of equilibrium against counting with whole numbers."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from federation.statistics.genotypes.hardy_weinberg import hardy_weinberg_p


def exact_p(none: int, one: int, two: int) -> float:
    """Wigginton et al. 2005, equation 2, in fractions."""
    people, rare = none + one + two, min(2 * two + one, 2 * none + one)
    chances = {}
    for hets in range(rare % 2, rare + 1, 2):
        hom_rare = (rare - hets) // 2
        hom_common = people - hets - hom_rare
        ways = factorial(people) // (factorial(hom_rare) * factorial(hets) * factorial(hom_common))
        chances[hets] = Fraction(ways * 2**hets)
    total = sum(chances.values())
    return float(sum(chance for chance in chances.values() if chance <= chances[one]) / total)


COUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))


@given(st.lists(COUNTS.filter(lambda c: sum(c) > 0), min_size=1, max_size=8))
def test_p_values_are_exact(counts: list[tuple[int, int, int]]) -> None:
    found = hardy_weinberg_p(np.array(counts, dtype=float))
    assert np.allclose(found, [exact_p(*row) for row in counts], rtol=1e-9)


def test_nobody_and_one_allele_are_no_evidence() -> None:
    assert hardy_weinberg_p(np.array([[0.0, 0, 0], [9, 0, 0], [0, 0, 9]])).tolist() == [1.0, 1.0, 1.0]


def test_which_allele_is_counted_changes_nothing() -> None:
    counts = np.random.default_rng(0).integers(0, 500, (200, 3)).astype(float)
    assert np.array_equal(hardy_weinberg_p(counts), hardy_weinberg_p(counts[:, ::-1]))


def test_far_from_equilibrium_and_near_it() -> None:
    assert hardy_weinberg_p(np.array([[489.0, 298, 213]]))[0] < 1e-20
    assert hardy_weinberg_p(np.array([[298.0, 489, 213]]))[0] > 0.5
