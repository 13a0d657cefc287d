"""Counts are sent as one word each, exactly; and the quick way of decoding wide sums rounds as the slow one does."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidInputError
from federation.statistics import wide_sums

WORD = st.integers(min_value=-(2**62), max_value=2**62)
LOW = st.integers(min_value=0, max_value=2**62)


@given(WORD, LOW)
def test_every_pair_of_words_is_decoded_to_the_nearest_float(high: int, low: int) -> None:
    exact = Fraction((high << wide_sums.PART_BITS) + low, 1 << wide_sums.FRACTION_BITS)
    found = wide_sums.decode(np.array([high, low], dtype=np.int64))[0]
    assert found == exact.numerator / exact.denominator


@given(st.lists(st.integers(min_value=0, max_value=2**40), min_size=1, max_size=8))
def test_counts_are_one_word_each(counts: list[int]) -> None:
    words = wide_sums.encode_whole(np.array(counts, dtype=np.float64))
    assert words.tolist() == counts


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 2.0**53])
def test_what_is_no_count_is_refused_without_being_shown(value: float) -> None:
    with pytest.raises(InvalidInputError, match="whole numbers") as caught:
        wide_sums.encode_whole(np.array([1.0, value]))
    assert repr(value) not in str(caught.value)
