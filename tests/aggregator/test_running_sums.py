"""Sums in place are the plain sums, bit for bit, on any number of threads and however many share a pass; no copy of a model."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from aggregator.folding import WeightedFold
from aggregator.running_sums import add_weighted, is_finite

LARGE = 4 * 2**19 + 12_345
"""Enough for four threads, and no multiple of a block."""


def drawn(size: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(size) * 10.0 ** generator.integers(-30, 30, size)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 5, 2**15 - 1, 2**15, 2**15 + 1, LARGE])
@pytest.mark.parametrize("threads", [1, 2, 3, 8, None])
def test_a_fold_is_the_plain_sum_in_float64_bit_for_bit(size, threads):
    updates, weights = [drawn(size, seed) for seed in range(3)], [1.0, 1 / 3, 20.0]
    updates[0][0] = -0.0
    fold = WeightedFold(size, threads=threads)
    for number, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        fold.add(f"site-{number}", {"update": update}, weight=weight)
    plain = weights[0] * updates[0].astype(np.float64)
    for update, weight in zip(updates[1:], weights[1:], strict=True):
        plain += weight * update.astype(np.float64)
    assert fold.sums["update"].tobytes() == plain.tobytes()


def test_float64_contributions_are_summed_as_they_are():
    total, values = np.zeros(7), np.random.default_rng(1).normal(size=7)
    add_weighted(total, [(values, 0.1)])
    assert total.tobytes() == (np.zeros(7) + 0.1 * values).tobytes()


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_vectors_that_share_a_pass_are_added_in_their_order_bit_for_bit(starts, threads):
    terms = [(drawn(LARGE, seed), weight) for seed, weight in enumerate([1 / 3, 1.0, 7.0, 0.1])]
    together, apart = np.ones(LARGE), np.ones(LARGE)
    add_weighted(together, terms, starts=starts, threads=threads)
    for number, term in enumerate(terms):
        add_weighted(apart, [term], starts=starts and number == 0, threads=1)
    assert together.tobytes() == apart.tobytes()
    backwards = np.ones(LARGE)
    add_weighted(backwards, terms[::-1], starts=starts)
    assert backwards.tobytes() != apart.tobytes(), "the order must matter, or this test shows nothing"


def test_a_sum_of_nothing_changes_nothing():
    total = np.ones(3)
    add_weighted(total, [])
    assert total.tolist() == [1.0, 1.0, 1.0]


def test_the_first_of_a_sum_keeps_the_sign_of_zero():
    total = np.ones(2)
    add_weighted(total, [(np.array([-0.0, 0.0], dtype=np.float32), 3.0)], starts=True)
    assert np.signbit(total).tolist() == [True, False]


def test_what_came_is_not_changed():
    update = drawn(100)
    kept = update.copy()
    fold = WeightedFold(100)
    for site in ("a", "b"):
        fold.add(site, {"update": update}, weight=2.0)
    assert update.tobytes() == kept.tobytes()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2**15, LARGE // 2, LARGE - 1])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(threads, broken, place):
    values = np.full(LARGE, np.finfo(np.float32).max, dtype=np.float32)
    assert is_finite(values, threads=threads)
    values[place] = broken
    assert not is_finite(values, threads=threads)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_fold_holds_one_sum_whatever_the_number_of_sites(threads):
    update = np.ones(LARGE, dtype=np.float32)

    def peak(sites: int) -> int:
        fold = WeightedFold(LARGE, threads=threads)
        tracemalloc.start()
        try:
            for site in range(sites):
                fold.add(f"site-{site}", {"update": update}, weight=1.0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most = 8 * LARGE + threads * 2**19  # the sum itself, and a block for each thread
    assert peak(10) < most
    assert peak(60) < most
