"""Quantiles from noisy trees: against least squares solved directly, against NumPy, and at their stated error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.data.quantile_tree import Ranks, TreeShape, rank_variance
from federation.errors import InvalidInputError


def design(shape: TreeShape) -> np.ndarray:
    """``[V, B]``: which leaves each node holds."""
    levels = [np.repeat(np.eye(2**level), 2 ** (shape.levels - level), axis=1) for level in range(1, shape.levels + 1)]
    return np.concatenate(levels)


@given(st.integers(1, 6), st.data())
def test_a_value_is_one_count_on_each_level(levels, data):
    shape = TreeShape(levels)
    leaves = np.array(data.draw(st.lists(st.integers(0, shape.num_leaves - 1), max_size=30)), dtype=np.int64)
    counts = shape.count(leaves)
    assert counts.dtype == np.int64
    assert counts.shape == (shape.num_nodes,) == (len(design(shape)),)
    np.testing.assert_array_equal(counts, design(shape) @ np.bincount(leaves, minlength=shape.num_leaves))
    assert counts.sum() == levels * len(leaves)


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_consistent_leaves_are_the_least_squares_solution(levels):
    shape = TreeShape(levels)
    noisy = np.random.default_rng(levels).normal(size=shape.num_nodes) * 10
    solved = np.linalg.lstsq(design(shape), noisy, rcond=None)[0]
    np.testing.assert_allclose(shape.consistent_leaves(noisy), solved, atol=1e-9)


@pytest.mark.parametrize("levels", [1, 2, 4, 6])
@pytest.mark.parametrize("fraction", [0.05, 0.5])
def test_rank_variance_is_that_of_least_squares(levels, fraction):
    shape = TreeShape(levels)
    matrix = design(shape)
    covariance = np.linalg.inv(matrix.T @ matrix)
    sums = np.tril(np.ones((shape.num_leaves + 1, shape.num_leaves)), -1) - fraction
    assert rank_variance(shape, fraction) == pytest.approx((sums @ covariance * sums).sum(axis=1).max(), rel=1e-9)


def test_consistent_leaves_refuse_another_tree():
    with pytest.raises(InvalidInputError, match="expected 14 counts"):
        TreeShape(3).consistent_leaves(np.zeros(8))


@given(
    st.lists(st.integers(-50, 200), min_size=8, max_size=8),
    st.lists(st.floats(0.001, 0.999), min_size=2, max_size=10),
)
def test_quantiles_are_monotone_and_in_range_whatever_the_counts(leaves, fractions):
    ranks = Ranks.of(np.array(leaves, dtype=np.float64), edges=np.cumsum(np.arange(1.0, 10.0)))
    found = ranks.quantiles(np.sort(fractions))
    assert (np.diff(found) >= -1e-9).all()
    assert ((found >= 1.0) & (found <= 45.0)).all()
    assert (np.diff(ranks.below) >= 0).all()


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_without_noise_a_quantile_is_exact_to_a_leaf(values, fraction):
    shape = TreeShape(7)
    edges = np.linspace(-1.0, 1.0, shape.num_leaves + 1)
    leaves = np.searchsorted(edges[1:-1], values, side="right").astype(np.int64)
    ranks = Ranks.of(shape.consistent_leaves(shape.count(leaves).astype(float)), edges=edges)
    assert ranks.total == pytest.approx(len(values))
    found = ranks.quantiles(np.array([fraction]))[0]
    width = 2.0 / shape.num_leaves + 1e-6
    around = np.quantile(values, [max(0, fraction - 1e-9), min(1, fraction + 1e-9)], method="inverted_cdf")
    neighbours = np.sort(values)
    after = neighbours[np.searchsorted(neighbours, around[1], side="right") :][:1]
    assert around[0] - width <= found <= (after[0] if after.size else around[1]) + width


@pytest.mark.statistical
def test_the_stated_rank_error_covers_and_is_not_idle():
    """Values at the place where the error is largest: within 3 deviations in all but 1 %, beyond 0.5 in at least 40 %."""
    shape, size, deviation = TreeShape(8), 4000, 30.0
    generator = np.random.default_rng(20261126)
    values = generator.uniform(-1, 1, size=size)
    edges = np.linspace(-1.0, 1.0, shape.num_leaves + 1)
    exact = shape.count(np.searchsorted(edges[1:-1], values, side="right").astype(np.int64))
    stated = deviation * rank_variance(shape, 0.5) ** 0.5
    errors = []
    for _ in range(400):
        noisy = exact + generator.normal(scale=deviation, size=shape.num_nodes)
        found = Ranks.of(shape.consistent_leaves(noisy), edges=edges).quantiles(np.array([0.5]))[0]
        errors.append((values < found).sum() - size / 2)
    errors = np.abs(errors) / stated
    assert (errors < 3).mean() >= 0.99
    assert (errors > 0.5).mean() >= 0.4
