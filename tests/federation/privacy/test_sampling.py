"""The Poisson sampler: exact probability, independent of everything but the numerator."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import InvalidInputError
from federation.privacy.keystream import KeyStream
from federation.privacy.randomness import RandomStreams
from federation.privacy.sampling import poisson_sample

STREAMS = RandomStreams(bytes(32))


class _Recorder(KeyStream):
    """Stands in for a key-stream: gives the values it was told to, in the upper 53 bits, and keeps what it was asked for."""

    def __init__(self, values: list[int]) -> None:
        self.values = np.array(values, dtype=np.uint64)
        self.asked = 0

    def words(self, count: int) -> np.ndarray:
        self.asked = count
        return (self.values << np.uint64(11)) | np.uint64(2**11 - 1)


def test_probability_is_the_numerator_over_two_to_the_53() -> None:
    numerator = 12_345_678_901_234
    recorder = _Recorder([numerator - 1, numerator, numerator + 1, 0, 2**53 - 1])
    drawn = poisson_sample(5, numerator=numerator, generator=recorder)
    assert recorder.asked == 5
    assert drawn.tolist() == [0, 3], "strictly below the numerator, as whole numbers"


def test_everybody_at_probability_one() -> None:
    assert poisson_sample(7, numerator=2**53, generator=STREAMS.stream()).tolist() == list(range(7))


def test_nobody_may_be_drawn_and_nobody_may_be_there() -> None:
    assert poisson_sample(1000, numerator=1, generator=STREAMS.stream()).size == 0
    empty = poisson_sample(0, numerator=2**52, generator=STREAMS.stream())
    assert empty.size == 0
    assert empty.dtype == np.int64


def test_a_patients_draw_does_not_depend_on_how_many_follow() -> None:
    long = poisson_sample(64, numerator=2**51, generator=STREAMS.stream("a"))
    short = poisson_sample(63, numerator=2**51, generator=STREAMS.stream("a"))
    assert short.tolist() == [patient for patient in long.tolist() if patient < 63]


@pytest.mark.parametrize(("patients", "numerator"), [(-1, 1), (5, 0), (5, 2**53 + 1)])
def test_bad_input_is_refused(patients: int, numerator: int) -> None:
    with pytest.raises(InvalidInputError, match="numerator"):
        poisson_sample(patients, numerator=numerator, generator=STREAMS.stream())


@pytest.mark.parametrize("numerator", [1, 2**20 + 1, 2**51, 2**52 + 12345, 2**53 - 1, 2**53])
def test_who_is_drawn_is_whose_upper_bits_are_below_the_numerator(numerator: int) -> None:
    words = KeyStream.from_generator(STREAMS.stream("bits")).words(3000)
    expected = np.flatnonzero(words >> np.uint64(11) < np.uint64(numerator))
    drawn = poisson_sample(3000, numerator=numerator, generator=STREAMS.stream("bits"))
    np.testing.assert_array_equal(drawn, expected)
    assert drawn.dtype == np.int64
