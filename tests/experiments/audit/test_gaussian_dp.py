from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting import get_sigma_gaussian
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from experiments.audit.gaussian_dp import at_least, at_most, epsilon_of_mu, gaussian_bound, mu_of_epsilon
from federation.errors import InvalidInputError
from federation.privacy.accounting import epsilon_of
from federation.privacy.events import SubsampledGaussian


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 50.0])
def test_the_exact_epsilon_is_that_of_dp_accounting(epsilon: float, delta: float) -> None:
    mu = mu_of_epsilon(epsilon, delta=delta)
    assert 1 / mu == pytest.approx(get_sigma_gaussian(epsilon, delta), rel=1e-6)
    assert epsilon_of_mu(mu, delta=delta) == pytest.approx(epsilon, rel=1e-6)


def test_without_leakage_epsilon_is_zero() -> None:
    assert epsilon_of_mu(0.0, delta=1e-5) == 0
    # The total variation distance 2 Phi(mu / 2) - 1 is below delta.
    assert epsilon_of_mu(2e-5, delta=1e-5) == 0
    assert epsilon_of_mu(3e-5, delta=1e-5) > 0


@given(noise=st.floats(0.3, 30), delta=st.sampled_from([1e-3, 1e-5, 1e-8]))
def test_the_accountant_never_claims_less_than_the_truth(noise: float, delta: float) -> None:
    claimed = epsilon_of([SubsampledGaussian(noise_multiplier=noise, sampling_numerator=2**53, steps=1)], delta=delta)
    exact = epsilon_of_mu(1 / noise, delta=delta)
    assert exact <= claimed
    assert epsilon_of_mu(2 / noise, delta=delta) > claimed or claimed == 0, "half the noise is beyond the slack"


@pytest.mark.parametrize(("successes", "trials"), [(0, 50), (1, 50), (17, 50), (50, 50)])
def test_limits_are_clopper_and_pearsons(successes: int, trials: int) -> None:
    low = binomtest(successes, trials, alternative="greater").proportion_ci(0.97, method="exact").low
    high = binomtest(successes, trials, alternative="less").proportion_ci(0.97, method="exact").high
    assert float(at_least(successes, trials, error=0.03)) == pytest.approx(low)
    assert float(at_most(successes, trials, error=0.03)) == pytest.approx(high)


def _normal(shift: float, *, size: int = 20_000, start: float = 0.0) -> np.ndarray:
    """Quantiles instead of draws: the sample that a normal gives on average, in mixed order."""
    shares = (np.arange(size) * 0.6180339887 + start) % 1
    return norm.ppf(np.clip(shares, 1 / (2 * size), 1 - 1 / (2 * size))) + shift


@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
def test_the_bound_is_below_and_close(mu: float) -> None:
    bound = gaussian_bound(_normal(mu), _normal(0.0, start=0.3), delta=1e-5, confidence=0.95)
    assert 0.85 * mu < bound.mu < mu
    assert bound.epsilon == pytest.approx(epsilon_of_mu(bound.mu, delta=1e-5))
    stricter = gaussian_bound(_normal(mu), _normal(0.0, start=0.3), delta=1e-5, confidence=0.999)
    assert stricter.mu < bound.mu


def test_equal_scores_bound_nothing() -> None:
    assert gaussian_bound(_normal(0.0), _normal(0.0, start=0.3), delta=1e-5, confidence=0.95).epsilon == 0
    assert gaussian_bound(np.zeros(1000), np.zeros(1000), delta=1e-5, confidence=0.95).epsilon == 0


def test_the_wrong_direction_bounds_nothing() -> None:
    assert gaussian_bound(_normal(0.0), _normal(1.0, start=0.3), delta=1e-5, confidence=0.95).mu == 0


def test_what_happens_now_and_then_is_noticed() -> None:
    # One release in ten is far out: hardly any shift at the middle, but unmistakable at its own place.
    present, absent = _normal(0.1), _normal(0.0, start=0.3)
    present[::10] = 40.0
    bound = gaussian_bound(present, absent, delta=1e-5, confidence=0.95)
    assert bound.mu > 1
    assert bound.threshold > 1


@pytest.mark.parametrize("bad", ["few", "nan", "delta"])
def test_what_cannot_be_judged_is_refused(bad: str) -> None:
    scores = np.zeros(100 if bad == "few" else 1000)
    if bad == "nan":
        scores[3] = math.nan
    with pytest.raises(InvalidInputError):
        gaussian_bound(scores, np.zeros(1000), delta=0.0 if bad == "delta" else 1e-5, confidence=0.95)


@pytest.mark.parametrize(("mu", "delta"), [(-1.0, 1e-5), (math.nan, 1e-5), (1e9, 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_arguments_out_of_range_are_refused(mu: float, delta: float) -> None:
    with pytest.raises(InvalidInputError):
        epsilon_of_mu(mu, delta=delta)
