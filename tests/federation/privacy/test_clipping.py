"""Clipping bounds every patient, in float64, whatever the gradient holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from federation.errors import InvalidInputError
from federation.privacy.clipping import clip, clipped_sum, grid_step, to_grid

finite_rows = npst.arrays(
    np.float64,
    npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.floats(-1e300, 1e300, allow_subnormal=True),
)
norms = st.floats(1e-6, 1e6)


@given(gradients=finite_rows, clipping_norm=norms)
def test_no_row_is_longer_than_the_clipping_norm(gradients: np.ndarray, clipping_norm: float) -> None:
    clipped = clip(gradients, clipping_norm=clipping_norm)
    assert np.isfinite(clipped).all()
    assert np.linalg.norm(clipped, axis=1).max() <= clipping_norm * (1 + 1e-12)


@given(gradients=finite_rows, clipping_norm=norms)
def test_direction_is_kept_and_short_rows_are_unchanged(gradients: np.ndarray, clipping_norm: float) -> None:
    clipped = clip(gradients, clipping_norm=clipping_norm)
    for row, result in zip(gradients, clipped, strict=True):
        largest = np.abs(row).max()
        if largest == 0:
            assert not result.any()
            continue
        norm = largest * np.linalg.norm(row / largest)
        expected = row if norm <= clipping_norm else row / norm * clipping_norm
        np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-300)
        if norm <= clipping_norm * (1 - 1e-12):
            np.testing.assert_array_equal(result, row)


@given(gradients=finite_rows, clipping_norm=norms)
def test_the_grid_never_lengthens_a_row(gradients: np.ndarray, clipping_norm: float) -> None:
    whole = to_grid(clip(gradients, clipping_norm=clipping_norm), clipping_norm=clipping_norm)
    np.testing.assert_array_equal(whole, np.rint(whole))
    assert np.linalg.norm(whole, axis=1).max() <= 2**24 * (1 + 1e-12)


@given(gradients=finite_rows, extra=npst.arrays(np.float64, 6, elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_one_patient_moves_the_sum_by_at_most_the_clipping_norm(gradients: np.ndarray, extra: np.ndarray) -> None:
    with_patient = np.vstack([gradients, extra[: gradients.shape[1]]])
    difference = clipped_sum(with_patient, clipping_norm=2.0) - clipped_sum(gradients, clipping_norm=2.0)
    assert np.linalg.norm(difference) * grid_step(2.0) <= 2.0 * (1 + 1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_unusable_patient_becomes_zero_and_touches_nobody(bad: float) -> None:
    gradients = np.array([[3.0, 4.0], [1.0, bad], [0.1, 0.2]])
    clipped = clip(gradients, clipping_norm=1.0)
    np.testing.assert_allclose(clipped, [[0.6, 0.8], [0.0, 0.0], [0.1, 0.2]], rtol=1e-15)


def test_the_callers_gradients_are_not_changed() -> None:
    gradients = np.array([[3.0, np.nan], [30.0, 40.0]])
    kept = gradients.copy()
    clipped_sum(gradients, clipping_norm=1.0)
    np.testing.assert_array_equal(gradients, kept)


def test_sum_does_not_depend_on_order_or_grouping() -> None:
    # In floating point it would, and the low bits would tell who is in the sum (Mironov 2012).
    generator = np.random.default_rng(3)
    gradients = generator.normal(size=(200, 7)) * 10.0 ** generator.uniform(-9, 3, size=(200, 1))
    total = clipped_sum(gradients, clipping_norm=0.7)
    np.testing.assert_array_equal(clipped_sum(gradients[::-1], clipping_norm=0.7), total)
    parts = [clipped_sum(part, clipping_norm=0.7) for part in np.array_split(gradients, 13)]
    np.testing.assert_array_equal(sum(parts), total)


def test_the_grid_costs_less_than_one_step_a_coordinate() -> None:
    gradients = np.random.default_rng(4).normal(size=(50, 9))
    exact = clip(gradients, clipping_norm=1.0)
    on_grid = to_grid(exact, clipping_norm=1.0) * grid_step(1.0)
    assert np.abs(on_grid - exact).max() < grid_step(1.0)
    assert np.all(np.abs(on_grid) <= np.abs(exact))


def test_clipping_is_in_double_precision() -> None:
    # In float32 the norm of these rows rounds to the clipping norm and nothing is shortened.
    row = np.full((1, 4096), 1 / 64) * (1 + 1e-9)
    assert np.linalg.norm(clip(row, clipping_norm=1.0)) <= 1.0 + 1e-12 < np.linalg.norm(row)


def test_nobody_is_zero() -> None:
    np.testing.assert_array_equal(clipped_sum(np.zeros((0, 3)), clipping_norm=1.0), np.zeros(3))


@pytest.mark.parametrize("clipping_norm", [0.0, -1.0, np.nan, np.inf])
def test_impossible_clipping_norms_are_refused(clipping_norm: float) -> None:
    with pytest.raises(InvalidInputError, match="clipping_norm"):
        clip(np.ones((1, 2)), clipping_norm=clipping_norm)
