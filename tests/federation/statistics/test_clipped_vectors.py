"""Whatever a patient's values are, a patient moves a sum by at most one norm of whole grid steps, and rounding has no drift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federation.privacy.randomness import seeded_streams
from federation.statistics.clipped import room_on_grid, whole_sum, whole_vectors

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
ROWS = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=NUMBERS)


def stream(*labels: int):
    return seeded_streams(5, provenance="synthetic").stream("rounding", *labels)


def squares(row) -> int:
    return sum(int(value) ** 2 for value in row)


@given(rows=ROWS, bits=st.integers(8, 24))
def test_no_row_is_longer_than_the_norm_in_whole_numbers(rows, bits: int) -> None:
    whole = whole_vectors(rows, grid_bits=bits, generator=stream(bits))
    assert all(squares(row) <= 4**bits for row in whole)


@given(rows=ROWS, bits=st.integers(8, 24))
def test_neighbouring_sums_differ_by_at_most_the_norm(rows, bits: int) -> None:
    """With the rounding of the others as it is: their draws are independent of who else is there."""
    each = [whole_vectors(row[None], grid_bits=bits, generator=stream(place)) for place, row in enumerate(rows)]
    with_all = np.sum(each, axis=0)[0]
    for left_out in range(len(each)):
        without = with_all - each[left_out][0]
        assert squares(with_all - without) <= 4**bits


def test_a_sum_without_clipping_is_caught() -> None:
    """The planted fault: the same rows, only rounded."""
    rows = np.array([[0.8, 0.8]])
    assert squares(np.rint(rows[0] * 2**10)) > 4**10
    assert squares(whole_vectors(rows, grid_bits=10, generator=stream())[0]) <= 4**10


@pytest.mark.parametrize("bits", [8, 12])
def test_rounding_has_no_drift(bits: int) -> None:
    """Cut towards zero, each of a thousand patients would lose half a grid step; what is left here is chance."""
    size, length = 4000, 6
    row = np.full(length, 0.37 / math.sqrt(length))
    total = whole_sum(iter([np.tile(row, (size // 4, 1))] * 4), length=length, grid_bits=bits, generator=stream(bits))
    expected = size * row * (1 - room_on_grid(length, grid_bits=bits)) * 2.0**bits
    assert np.all(np.abs(total - expected) < 5 * math.sqrt(size / 4))


def test_rows_that_are_no_numbers_count_for_nothing() -> None:
    rows = np.array([[np.nan, 0.1], [np.inf, 0.0], [0.5, 0.0]])
    whole = whole_vectors(rows, grid_bits=16, generator=stream())
    assert not whole[:2].any()
    assert whole[2, 0] > 0


def test_rows_of_norm_one_are_not_shortened_but_for_the_room_that_decoding_gives_back() -> None:
    whole = whole_vectors(np.eye(5), grid_bits=10, generator=stream())
    scale = (1 - room_on_grid(5, grid_bits=10)) * 2**10
    assert np.all(np.abs(np.diag(whole) - scale) <= 1)
