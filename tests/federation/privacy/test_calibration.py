"""Calibration keeps the promise with the smallest noise on its grid."""

from __future__ import annotations

import math

import pytest

from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.privacy.accounting import NOTHING, add, cost_of, epsilon_of, epsilon_of_cost
from federation.privacy.calibration import calibrate_noise_multiplier, sampling_numerator_of
from federation.privacy.events import DiscreteGaussian, SubsampledGaussian


@pytest.mark.parametrize(
    ("epsilon", "delta", "probability", "steps"),
    [
        (1.0, 1e-3, 0.1, 300),
        (8.0, 1e-5, 0.5, 500),
        (1.0, 1e-6, 0.01, 100_000),
        (100.0, 1e-5, 0.9, 10),
        (0.1, 1e-6, 1.0, 1),
        (2.0, 1e-5, 0.05, 1),
    ],
)
def test_smallest_noise_that_keeps_the_promise(epsilon: float, delta: float, probability: float, steps: int) -> None:
    numerator = sampling_numerator_of(probability)
    noise = calibrate_noise_multiplier(epsilon=epsilon, delta=delta, sampling_numerator=numerator, steps=steps)

    def cost(noise_multiplier: float) -> float:
        event = SubsampledGaussian(noise_multiplier=noise_multiplier, sampling_numerator=numerator, steps=steps)
        return epsilon_of([event], delta=delta)

    assert cost(noise) <= epsilon
    assert cost(noise - 1e-4) > epsilon
    assert noise == pytest.approx(round(noise * 10_000) / 10_000, abs=0)


def test_what_is_released_beside_training_is_paid_for_first() -> None:
    beside = add(NOTHING, cost_of(DiscreteGaussian(sensitivity_squared=1, variance=8)))
    alone, together = (
        calibrate_noise_multiplier(
            epsilon=2.0, delta=1e-5, sampling_numerator=sampling_numerator_of(0.1), steps=5, rounds=20, beside=extra
        )
        for extra in (NOTHING, beside)
    )
    event = SubsampledGaussian(noise_multiplier=together, sampling_numerator=sampling_numerator_of(0.1), steps=5)
    assert together > alone
    assert epsilon_of_cost(add(beside, cost_of(event), times=20), delta=1e-5) <= 2.0


def test_less_epsilon_needs_more_noise() -> None:
    noises = [
        calibrate_noise_multiplier(epsilon=epsilon, delta=1e-5, sampling_numerator=2**50, steps=200)
        for epsilon in (8.0, 4.0, 2.0, 1.0, 0.5)
    ]
    assert noises == sorted(noises)
    assert noises[0] < noises[-1] / 4


def test_promise_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(PrivacyRefusedError, match="some noise can keep"):
        calibrate_noise_multiplier(epsilon=1e-9, delta=1e-12, sampling_numerator=2**53, steps=10**6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0},
        {"epsilon": math.inf},
        {"epsilon": math.nan},
        {"delta": 0.0},
        {"delta": 1.0},
        {"steps": 0},
        {"sampling_numerator": 0},
        {"sampling_numerator": 2**53 + 1},
    ],
)
def test_bad_input_is_refused(wrong: dict[str, float]) -> None:
    settings = {"epsilon": 1.0, "delta": 1e-5, "sampling_numerator": 2**50, "steps": 10} | wrong
    with pytest.raises(InvalidInputError):
        calibrate_noise_multiplier(**settings)


def test_probability_becomes_an_exact_fraction_never_larger() -> None:
    assert sampling_numerator_of(1.0) == 2**53
    assert sampling_numerator_of(0.5) == 2**52
    for probability in (0.1, 1 / 3, 1e-9, 0.999999):
        numerator = sampling_numerator_of(probability)
        assert numerator / 2**53 <= probability < (numerator + 1) / 2**53 * (1 + 1e-15)


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.1, math.nan, 2.0**-60])
def test_impossible_probabilities_are_refused(probability: float) -> None:
    with pytest.raises(InvalidInputError, match="sampling"):
        sampling_numerator_of(probability)
