from __future__ import annotations

import math
from collections.abc import Sequence

import dp_accounting as dp
import pytest

from experiments.privacy_plan.pld import Times, epsilon_by_pld
from federation.errors import InvalidInputError
from federation.privacy.accounting import epsilon_of
from federation.privacy.events import DiscreteGaussian, DiscreteLaplace, SubsampledGaussian


def _steps(noise: float, probability: float, steps: int) -> SubsampledGaussian:
    return SubsampledGaussian(noise_multiplier=noise, sampling_numerator=int(probability * 2**53), steps=steps)


@pytest.mark.parametrize(
    ("noise", "probability", "steps", "times"),
    [(1.1, 0.02, 10, 50), (0.7, 0.01, 7, 30), (4.0, 0.5, 5, 40), (25.0, 1.0, 100, 10)],
)
def test_training_as_dp_accounting_says(noise: float, probability: float, steps: int, times: int) -> None:
    event = _steps(noise, probability, steps)
    judge = dp.pld.PLDAccountant()
    judge.compose(dp.PoissonSampledDpEvent(probability, dp.GaussianDpEvent(noise)), steps * times)
    found = epsilon_by_pld([(event, times)], delta=1e-6)
    assert found == pytest.approx(judge.get_epsilon(1e-6), rel=2e-3)
    assert found is not None
    assert found < epsilon_of([event] * times, delta=1e-6)


def test_a_discrete_gaussian_is_as_its_exact_distribution_says() -> None:
    exact = dp.pld.privacy_loss_distribution.from_discrete_gaussian_mechanism(6.0, sensitivity=2)
    judged = exact.self_compose(5).get_epsilon_for_delta(1e-5)
    found = epsilon_by_pld([(DiscreteGaussian(sensitivity_squared=4, variance=36), 5)], delta=1e-5)
    assert found == pytest.approx(judged, rel=2e-3)


def test_a_discrete_laplace_costs_no_more_than_its_pure_epsilon() -> None:
    event = DiscreteLaplace(sensitivity=3, scale=30)
    one = epsilon_by_pld([(event, 1)], delta=1e-9)
    many = epsilon_by_pld([(event, 100)], delta=1e-5)
    assert one == pytest.approx(0.1, rel=1e-3)
    assert many is not None
    assert 1 < many <= epsilon_of([event] * 100, delta=1e-5) * 1.001
    assert many < 100 * 0.1


@pytest.mark.parametrize("releases", [[], [(_steps(1.0, 0.1, 3), 0)]])
def test_nothing_costs_nothing(releases: Sequence[Times]) -> None:
    assert epsilon_by_pld(releases, delta=1e-5) == 0.0


def test_where_there_is_no_figure() -> None:
    training = (_steps(1.0, 0.1, 3), 2)
    assert epsilon_by_pld([(DiscreteGaussian(sensitivity_squared=1, variance=3), 1), training], delta=1e-5) is None
    assert epsilon_by_pld([(DiscreteGaussian(sensitivity_squared=1, variance=4), 1), training], delta=1e-5) is not None


def test_very_little_noise_takes_no_endless_grid() -> None:
    found = epsilon_by_pld([(_steps(0.05, 1.0, 1), 2)], delta=1e-5)
    # Two Gaussians of standard deviation s are one of s / sqrt 2; its epsilon is between mean and bound of its loss.
    ratio = 2 / 0.05**2
    assert found is not None
    assert ratio / 2 < found <= ratio / 2 + math.sqrt(2 * ratio * math.log(1 / 1e-5))


def test_what_is_impossible_is_refused() -> None:
    event = _steps(1.0, 0.1, 3)
    with pytest.raises(InvalidInputError, match="expected 0 < delta < 1"):
        epsilon_by_pld([(event, 1)], delta=0.0)
    with pytest.raises(InvalidInputError, match=r"got 1e-05 and \[-1\]"):
        epsilon_by_pld([(event, -1)], delta=1e-5)
