"""Sums of real numbers are exact, whatever the order and number of sites, and what does not fit is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidInputError
from federation.protocol.secure_sum.quantization import LARGEST_64
from federation.statistics import wide_sums

_SIZES = st.floats(min_value=2.0**-7, max_value=2.0**43).flatmap(lambda x: st.sampled_from([x, -x]))


@given(st.lists(_SIZES | st.just(0.0), min_size=1, max_size=30))
def test_the_decoded_sum_is_the_exact_sum_rounded_once(values: list[float]) -> None:
    words = sum(wide_sums.encode(np.array([value])) for value in values)
    exact = sum((Fraction(value) for value in values), Fraction(0))
    assert wide_sums.decode(words)[0] == exact.numerator / exact.denominator


@given(st.lists(st.floats(min_value=-1, max_value=1), min_size=1, max_size=20))
def test_small_numbers_are_right_to_the_last_binary_place(values: list[float]) -> None:
    words = sum(wide_sums.encode(np.array([value])) for value in values)
    exact = float(sum((Fraction(value) for value in values), Fraction(0)))
    assert abs(wide_sums.decode(words)[0] - exact) <= len(values) * 2.0**-61 + abs(exact) * 2.0**-52


def test_the_order_of_sites_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    sites = [wide_sums.encode(rng.normal(size=50) * 10.0 ** rng.integers(-6, 12)) for _ in range(40)]
    forwards, backwards = sum(sites), sum(reversed(sites))
    assert np.array_equal(wide_sums.decode(forwards), wide_sums.decode(backwards))


def test_a_thousand_sites_at_their_largest_do_not_wrap_around() -> None:
    largest = np.nextafter(wide_sums.LARGEST, 0.0)
    for sign in (1.0, -1.0):
        words = wide_sums.encode(np.array([sign * largest]))
        assert int(np.abs(words).max()) * wide_sums.MOST_SITES <= LARGEST_64
        wide_sums.source(words, sites=wide_sums.MOST_SITES)
        assert wide_sums.decode(words * wide_sums.MOST_SITES)[0] == pytest.approx(1000 * sign * largest, rel=1e-15)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, wide_sums.LARGEST, -wide_sums.LARGEST])
def test_what_does_not_fit_is_refused_without_being_shown(value: float) -> None:
    with pytest.raises(InvalidInputError, match="below 2") as caught:
        wide_sums.encode(np.array([1.0, value]))
    assert repr(value) not in str(caught.value)


def test_too_many_sites_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="fit in a ring"):
        wide_sums.source(wide_sums.encode(np.zeros(1)), sites=3000)
