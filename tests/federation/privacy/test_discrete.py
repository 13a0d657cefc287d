"""Discrete noise: the exact distributions, OpenDP as judge, and tests that reject a wrong parameter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.errors import InvalidInputError
from federation.privacy.discrete import discrete_gaussian, discrete_laplace, noisy_counts
from federation.privacy.events import DiscreteGaussian, DiscreteLaplace
from federation.privacy.randomness import seeded_streams

STREAMS = seeded_streams(20261125, provenance="synthetic")
DRAWS = 60_000


def _gaussian_weights(points: np.ndarray, variance: float) -> np.ndarray:
    return np.exp(-(points.astype(np.float64) ** 2) / (2 * variance))


def _laplace_weights(points: np.ndarray, scale: float) -> np.ndarray:
    return np.exp(-np.abs(points.astype(np.float64)) / scale)


def _p_value(draws: np.ndarray, weights: np.ndarray, points: np.ndarray) -> float:
    """Chi-squared test of the draws against probabilities proportional to the weights."""
    expected = weights / weights.sum() * len(draws)
    found = np.array([np.count_nonzero(draws == point) for point in points], dtype=np.float64)
    common = expected >= 10
    found = np.append(found[common], len(draws) - found[common].sum())
    expected = np.append(expected[common], max(len(draws) - expected[common].sum(), 1e-9))
    return float(stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue)


@pytest.mark.parametrize("variance", [1, 2, 9, 100, 1000])
def test_gaussian_has_its_distribution_and_no_other(variance: int) -> None:
    draws = discrete_gaussian(DRAWS, variance=variance, generator=STREAMS.stream("gaussian", variance))
    points = np.arange(-8 * int(variance**0.5) - 8, 8 * int(variance**0.5) + 9)
    assert _p_value(draws, _gaussian_weights(points, variance), points) > 1e-4
    assert _p_value(draws, _gaussian_weights(points, variance * 1.1), points) < 1e-6
    assert _p_value(draws, _gaussian_weights(points, variance / 1.1), points) < 1e-6


@pytest.mark.parametrize("scale", [1, 3, 20])
def test_laplace_has_its_distribution_and_no_other(scale: int) -> None:
    draws = discrete_laplace(DRAWS, scale=scale, generator=STREAMS.stream("laplace", scale))
    points = np.arange(-15 * scale, 15 * scale + 1)
    assert _p_value(draws, _laplace_weights(points, scale), points) > 1e-4
    assert _p_value(draws, _laplace_weights(points, scale * 1.1), points) < 1e-6
    assert _p_value(draws, _laplace_weights(points, scale / 1.1), points) < 1e-6


def test_opendp_draws_from_the_same_distributions() -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=int)
    theirs = np.array(dp.m.make_gaussian(*space, scale=5.0)([0] * 20_000))
    ours = discrete_gaussian(20_000, variance=25, generator=STREAMS.stream("opendp"))
    points = np.arange(-20, 21)
    table = np.array([[np.count_nonzero(draws == point) for point in points] for draws in (theirs, ours)])
    table = table[:, table.min(axis=0) >= 5]
    assert stats.chi2_contingency(table).pvalue > 1e-5
    wider = discrete_gaussian(20_000, variance=31, generator=STREAMS.stream("opendp wider"))
    table = np.array([[np.count_nonzero(draws == point) for point in points] for draws in (theirs, wider)])
    assert stats.chi2_contingency(table[:, table.min(axis=0) >= 5]).pvalue < 1e-5


def test_draws_are_independent() -> None:
    draws = discrete_gaussian(DRAWS, variance=50, generator=STREAMS.stream("independence")).astype(np.float64)
    for lag in (1, 2, DRAWS // 2):
        assert abs(np.corrcoef(draws[:-lag], draws[lag:])[0, 1]) < 0.02


def test_the_largest_noise_still_fits() -> None:
    draws = discrete_gaussian(3000, variance=2**28, generator=STREAMS.stream("large"))
    assert draws.std() == pytest.approx(2**14, rel=0.06)
    laplace = discrete_laplace(3000, scale=2**28, generator=STREAMS.stream("large laplace"))
    assert np.abs(laplace).mean() == pytest.approx(2**28, rel=0.08)


@pytest.mark.parametrize("bad", [0, -1, 2**28 + 1])
def test_refuses_noise_out_of_range(bad: int) -> None:
    with pytest.raises(InvalidInputError):
        discrete_gaussian(3, variance=bad, generator=STREAMS.stream("bad"))
    with pytest.raises(InvalidInputError):
        discrete_laplace(3, scale=bad, generator=STREAMS.stream("bad"))


@given(size=st.integers(0, 40), seed=st.integers(0, 1000))
def test_noise_does_not_depend_on_the_counts(size: int, seed: int) -> None:
    for mechanism in (DiscreteGaussian(sensitivity_squared=1, variance=9), DiscreteLaplace(sensitivity=1, scale=2)):
        nothing = np.zeros(size, dtype=np.int64)
        counts = np.arange(size, dtype=np.int64) * 7
        noise = noisy_counts(nothing, mechanism=mechanism, generator=STREAMS.stream("counts", seed))
        again = noisy_counts(counts, mechanism=mechanism, generator=STREAMS.stream("counts", seed))
        assert noise.dtype == np.int64
        np.testing.assert_array_equal(again - counts, noise)


@pytest.mark.parametrize("counts", [np.zeros(3), np.zeros((2, 2), dtype=np.int64), np.zeros(3, dtype=np.int32)])
def test_refuses_what_is_not_a_vector_of_whole_numbers(counts: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="int64"):
        noisy_counts(counts, mechanism=DiscreteGaussian(sensitivity_squared=1, variance=9), generator=STREAMS.stream(1))
