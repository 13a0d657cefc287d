"""Masked bytes look uniform to the usual tests (NIST SP 800-22, sections 2.1 and 2.3; Knuth 3.3.1 and 3.3.2); bare numbers do not.

Each of the four tests errs with probability 1e-6 on uniform bytes: less than 1e-4 over all runs here. The seeds are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import erfc, sqrt

import numpy as np
import pytest
from scipy.stats import chi2

from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.terms import KeyBatch
from tests.federation.protocol.secure_sum.consortium import Consortium

pytestmark = pytest.mark.statistical
ERROR = 1e-6
SIZE = 100_000


def monobit(content: np.ndarray) -> float:
    bits = np.unpackbits(content)
    return erfc(abs(2.0 * bits.sum() - bits.size) / sqrt(2 * bits.size))


def runs(content: np.ndarray) -> float:
    bits = np.unpackbits(content)
    share = bits.mean()
    if share in (0.0, 1.0):
        return 0.0
    expected = 2 * bits.size * share * (1 - share)
    changes = 1 + np.count_nonzero(np.diff(bits))
    return erfc(abs(changes - expected) / (2 * sqrt(2 * bits.size) * share * (1 - share)))


def byte_frequencies(content: np.ndarray) -> float:
    expected = content.size / 256
    return float(chi2.sf(((np.bincount(content, minlength=256) - expected) ** 2).sum() / expected, 255))


def serial_correlation(content: np.ndarray) -> float:
    numbers = content.astype(np.float64)
    if not numbers.std():
        return 0.0
    worst = max(abs(np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]) for lag in (1, 2, 4, 8))
    return min(1.0, 4 * erfc(worst * sqrt(content.size / 2)))  # Bonferroni over four lags


TESTS: tuple[Callable[[np.ndarray], float], ...] = (monobit, runs, byte_frequencies, serial_correlation)


@cache
def masked(constant: int, round_number: int = 1) -> np.ndarray:
    """The masked vector of a site whose numbers are all the same, in both rings, as bytes."""
    consortium = Consortium.of(3)
    _, held = consortium.agree(KeyBatch(purpose="train", first_round=1, rounds=2))
    content = consortium.contribute(
        held["site-001"],
        np.full(SIZE, constant, dtype=np.int64),
        round_number=round_number,
        statistics=np.full(SIZE // 4, constant, dtype=np.int64),
    )[1]
    size = Layout(updates=SIZE, statistics=SIZE // 4).payload_bytes
    return np.frombuffer(bytes(content), dtype=np.uint8, count=size)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("constant", [0, 1, -1, 1000])
def test_masked_bytes_of_a_constant_vector_pass(test, constant: int) -> None:
    assert test(masked(constant)) > ERROR


@pytest.mark.parametrize("test", TESTS)
def test_the_difference_of_two_rounds_of_the_same_numbers_passes(test) -> None:
    difference = masked(1000, 1).view(np.uint32) - masked(1000, 2).view(np.uint32)
    assert test(difference.view(np.uint8)) > ERROR


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("constant", [0, 1, -1, 1000])
def test_bare_bytes_of_a_constant_vector_are_rejected(test, constant: int) -> None:
    bare = np.full(SIZE, constant, dtype="<i4").view(np.uint8)
    if test is serial_correlation and constant in (0, -1):
        assert not bare.astype(np.float64).std()  # constant bytes: counted as rejected
    assert test(bare) < ERROR


@pytest.mark.parametrize("test", TESTS)
def test_a_mask_that_is_used_twice_is_rejected(test) -> None:
    """The twin: the difference under one and the same mask is the difference of the numbers."""
    difference = masked(1000).view(np.uint32)[SIZE:] - masked(1).view(np.uint32)[SIZE:]
    assert test(difference.view(np.uint8)) < ERROR


@pytest.mark.parametrize("test", TESTS[1:])  # symmetric noise has as many ones as zeros
def test_small_noise_is_no_mask(test) -> None:
    noise = np.random.default_rng(1).integers(-1000, 1000, SIZE).astype("<i4").view(np.uint8)
    assert test(noise) < ERROR
