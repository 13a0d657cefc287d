"""Noise in shares: together at least as much as promised, on a grid fine enough, and exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.errors import InvalidInputError
from federation.privacy.discrete import LARGEST_VARIANCE
from federation.privacy.distributed import NoiseShare
from federation.privacy.randomness import seeded_streams

STREAMS = seeded_streams(11, provenance="synthetic")


@given(
    noise_multiplier=st.floats(0.05, 60.0),
    shares=st.integers(1, 1000),
    extra=st.integers(0, 1000),
)
def test_sums_of_as_many_sites_as_shares_or_more_have_the_promised_noise(
    noise_multiplier: float, shares: int, extra: int
) -> None:
    share = NoiseShare.of(noise_multiplier, shares=shares)
    wanted = (noise_multiplier * 2.0**share.grid_bits) ** 2
    assert share.variance * (shares + extra) >= wanted * (1 - 1e-12)
    assert share.noise_multiplier >= noise_multiplier * (1 - 1e-12)
    assert share.variance <= LARGEST_VARIANCE
    assert 8 <= share.grid_bits <= 24
    # No more than rounding the variance up costs: less than a step's worth.
    assert share.variance * shares <= wanted + shares


def test_the_grid_is_the_finest_on_which_noise_can_be_drawn() -> None:
    share = NoiseShare.of(1.0, shares=4)
    assert share.grid_bits == 15
    assert share.variance == 2**28
    assert math.ceil(4.0 ** (share.grid_bits + 1) / 4) > LARGEST_VARIANCE


@pytest.mark.parametrize("noise_multiplier", [0.0, -1.0, math.nan])
def test_noise_that_is_none_is_refused(noise_multiplier: float) -> None:
    with pytest.raises(InvalidInputError):
        NoiseShare.of(noise_multiplier, shares=3)


def test_noise_that_no_grid_holds_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="sites can share"):
        NoiseShare.of(1e4, shares=3)


def _summed(share: NoiseShare, sites: int, *, size: int) -> np.ndarray:
    nobody = np.zeros(size)
    parts = [share.noisy(nobody, generator=STREAMS.stream("noise", sites, site)) for site in range(sites)]
    assert all(part.dtype == np.int64 for part in parts)
    return np.sum(parts, axis=0)


def _variance_p_value(values: np.ndarray, variance: float) -> float:
    statistic = float((values.astype(np.float64) ** 2).sum() / variance)
    tail = stats.chi2.cdf(statistic, len(values))
    return 2 * min(tail, 1 - tail)


@pytest.mark.statistical
@pytest.mark.parametrize("sites", [3, 5])
def test_the_noise_of_a_sum_is_that_of_its_sites(sites: int) -> None:
    """A false alarm has a chance of 1e-4 each; half the variance or a missing share is seen."""
    share = NoiseShare.of(1.3, shares=3)
    values = _summed(share, sites, size=20_000)
    one = 1.3**2 * 4.0**share.grid_bits / 3
    assert _variance_p_value(values, sites * one) > 1e-4
    assert _variance_p_value(values, sites * one / 2) < 1e-12
    assert _variance_p_value(values, (sites - 1) * one) < 1e-12
    assert stats.kstest(values / math.sqrt(sites * one), "norm").pvalue > 1e-4


def test_a_mean_is_in_units_of_the_gradient() -> None:
    share = NoiseShare.of(1.0, shares=3)
    total = np.array([2.0**share.grid_bits, 0.0])
    np.testing.assert_array_equal(share.mean(total, clipping_norm=0.5, divisor=4.0), [0.125, 0.0])


def test_patients_are_added_to_the_noise_exactly() -> None:
    share = NoiseShare.of(2.0, shares=3)
    patients = np.array([5.0, -3.0, 2.0**40])
    with_patients = share.noisy(patients, generator=STREAMS.stream("same"))
    without = share.noisy(np.zeros(3), generator=STREAMS.stream("same"))
    np.testing.assert_array_equal(with_patients - without, patients.astype(np.int64))
