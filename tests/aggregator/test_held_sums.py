"""Updates that wait are never seen from outside: the sums are those of adding each at once, bit for bit, in bounded memory."""

from __future__ import annotations

import tracemalloc
from functools import cache

import numpy as np
import pytest

from aggregator.folding import WeightedFold
from aggregator.held_sums import HELD_BYTES, HeldSums
from federation.errors import TransportError

LARGE = 2**19 + 77
"""Long enough to wait."""
WEIGHTS = [1.0, 1 / 3, 20.0, 0.1, 3.0, 1.0, 7.0, 0.7, 1.0, 11.0]


@cache
def drawn(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = (generator.standard_normal(LARGE) * 10.0 ** generator.integers(-30, 30, LARGE)).astype(np.float32)
    values.flags.writeable = False
    return values


@cache
def plain_sum(number: int) -> np.ndarray:
    if number == 1:
        return WEIGHTS[0] * drawn(0).astype(np.float64)
    return plain_sum(number - 1) + WEIGHTS[number - 1] * drawn(number - 1).astype(np.float64)


def folded(fold: WeightedFold, number: int) -> WeightedFold:
    for seed in range(number):
        fold.add(f"site-{seed}", {"update": drawn(seed)}, weight=WEIGHTS[seed])
    return fold


@pytest.mark.parametrize("number", [1, 2, 3, 7, 8, 9, 10])
@pytest.mark.parametrize("held_bytes", [0, 4 * LARGE, 8 * LARGE, 12 * LARGE + 1, HELD_BYTES])
def test_updates_that_wait_give_the_plain_sum_bit_for_bit(number, held_bytes):
    fold = folded(WeightedFold(LARGE, are_handed_over=True, held_bytes=held_bytes), number)
    plain = plain_sum(number)
    assert fold.sums["update"].tobytes() == plain.tobytes()
    assert fold.means()["update"].tobytes() == (plain / sum(WEIGHTS[:number])).tobytes()


def test_sums_are_right_at_any_moment():
    fold = WeightedFold(LARGE, are_handed_over=True)
    for seed in range(7):
        fold.add(f"site-{seed}", {"update": drawn(seed)}, weight=WEIGHTS[seed])
        assert fold.sums["update"].tobytes() == plain_sum(seed + 1).tobytes()
        assert fold.total_weight == sum(WEIGHTS[: seed + 1])
        assert fold.contributors == [f"site-{site}" for site in range(seed + 1)]


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_vector_that_was_not_handed_over_may_be_changed_at_once(size):
    fold, buffer = WeightedFold(size), np.empty(size, dtype=np.float32)
    for number in range(6):
        buffer[:] = number
        fold.add(f"site-{number}", {"update": buffer}, weight=1.0)
        buffer[:] = np.nan
    assert np.array_equal(fold.sums["update"], np.full(size, 15.0))


def test_vectors_of_both_kinds_are_added_in_the_order_of_the_calls():
    fold = WeightedFold(LARGE, are_handed_over=True)
    for seed in range(7):
        update = drawn(seed).copy()
        fold.are_handed_over = seed % 3 != 2
        fold.add(f"site-{seed}", {"update": update}, weight=WEIGHTS[seed])
        if seed % 3 == 2:
            update[:] = np.nan
    assert fold.sums["update"].tobytes() == plain_sum(7).tobytes()


def test_what_waits_is_not_changed_and_needs_no_copy():
    fold, update = WeightedFold(LARGE, are_handed_over=True), drawn(1).copy()
    tracemalloc.start()
    try:
        fold.add("a", {"update": update}, weight=2.0)
        assert tracemalloc.get_traced_memory()[0] < LARGE, "less than a byte a number"
    finally:
        tracemalloc.stop()
    fold.add("b", {"update": update}, weight=2.0)
    assert np.array_equal(fold.sums["update"], 4.0 * drawn(1).astype(np.float64))
    assert update.tobytes() == drawn(1).tobytes()


@pytest.mark.parametrize(
    "broken",
    [{"other": np.ones(LARGE)}, {"update": np.ones(LARGE - 1)}, {"update": np.ones((LARGE, 1))}, {}],
    ids=["another name", "too short", "two axes", "nothing"],
)
def test_a_refused_contribution_leaves_what_waits_unharmed(broken):
    fold = WeightedFold(LARGE, are_handed_over=True)
    fold.add("a", {"update": drawn(0)}, weight=1.0)
    with pytest.raises(TransportError, match="expected"):
        fold.add("b", broken, weight=1.0)
    fold.add("c", {"update": drawn(1)}, weight=1 / 3)
    assert fold.contributors == ["a", "c"]
    assert fold.sums["update"].tobytes() == plain_sum(2).tobytes()


def test_every_vector_of_a_contribution_is_summed():
    fold = WeightedFold(LARGE, are_handed_over=True)
    for number in range(5):
        both = {"update": np.full(LARGE, number, dtype=np.float32), "algorithm/control": np.full(LARGE, 0.5)}
        fold.add(f"site-{number}", both, weight=2.0)
    assert {name: (total.min(), total.max()) for name, total in fold.sums.items()} == {
        "update": (20.0, 20.0), "algorithm/control": (5.0, 5.0),
    }  # fmt: skip


def test_sums_that_are_put_in_replace_what_was_there():
    fold = folded(WeightedFold(LARGE, are_handed_over=True), 2)
    fold.sums = {"update": np.ones(LARGE)}
    fold.add("c", {"update": np.ones(LARGE, dtype=np.float32)}, weight=2.0)
    assert set(fold.sums["update"]) == {3.0}


@pytest.mark.parametrize(("held_bytes", "most"), [(0, 1), (8 * LARGE - 1, 1), (8 * LARGE, 2), (HELD_BYTES, 8)])
def test_memory_is_the_sum_and_a_bounded_number_of_updates_whatever_the_number_of_sites(held_bytes, most):
    def peak(sites: int) -> int:
        fold = WeightedFold(LARGE, are_handed_over=True, threads=1, held_bytes=held_bytes)
        tracemalloc.start()
        try:
            for site in range(sites):
                fold.add(f"site-{site}", {"update": np.ones(LARGE, dtype=np.float32)}, weight=1.0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    block = 2**19
    few, many = peak(10), peak(40)
    assert (8 + 4 * most) * LARGE <= few < (8 + 4 * most) * LARGE + block
    assert many < few + block // 8


def test_updates_of_another_precision_count_with_their_bytes():
    sums = HeldSums(LARGE, held_bytes=12 * LARGE)
    sums.add({"update": np.ones(LARGE, dtype=np.float32)}, weight=1.0, may_wait=True)
    sums.add({"update": np.ones(LARGE)}, weight=1.0, may_wait=True)
    sums.add({"update": np.ones(LARGE)}, weight=1.0, may_wait=True)
    assert set(sums.totals()["update"]) == {3.0}


def test_small_updates_never_wait():
    fold, update = WeightedFold(1000, are_handed_over=True), np.ones(1000, dtype=np.float32)
    fold.add("a", {"update": update}, weight=1.0)
    update[:] = 5.0
    assert set(fold.sums["update"]) == {1.0}
