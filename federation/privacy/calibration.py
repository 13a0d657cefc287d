"""From a promised (epsilon, delta) to the noise that keeps it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from federation.checks import positive, probability
from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.privacy.accounting import NOTHING, Cost, add, cost_of, epsilon_of_cost
from federation.privacy.discrete import LARGEST_VARIANCE
from federation.privacy.events import PROBABILITY_DENOMINATOR, DiscreteGaussian, SubsampledGaussian

NOISE_GRID: Final = 10_000
"""Noise multipliers are whole numbers of 1 / 10,000."""
_LARGEST: Final = 10_000 * NOISE_GRID


def sampling_numerator_of(probability_of_patient: float) -> int:
    """The sampler's whole number for a probability: rounded down, so that the probability is never larger than asked.

    Raises:
        InvalidInputError: If the probability is not in (0, 1], or below 2**-53.
    """
    probability(sampling_probability=probability_of_patient)
    numerator = math.floor(probability_of_patient * PROBABILITY_DENOMINATOR)
    if numerator < 1:
        raise InvalidInputError(f"expected a sampling probability of at least 2**-53, got {probability_of_patient!r}")
    return numerator


def calibrate_noise_multiplier(
    *,
    epsilon: float,
    delta: float,
    sampling_numerator: int,
    steps: int,
    rounds: int = 1,
    beside: Cost = NOTHING,
) -> float:
    """The smallest noise multiplier on the grid that keeps the promise over all steps.

    Args:
        epsilon: Target over the whole study, positive.
        delta: Target, in (0, 1).
        sampling_numerator: Chance that a patient enters a step, times 2**53.
        steps: Steps a round.
        rounds: Rounds of the study; each is charged by itself, so that a ledger comes to the same sum.
        beside: What the study releases about the same patients beside training, such as evaluations.

    Returns:
        A multiple of 1e-4. The guarantee has been checked with this very number.

    Raises:
        InvalidInputError: If an argument is out of range.
        PrivacyRefusedError: If no noise multiplier up to 10,000 keeps the promise.
    """
    positive(epsilon=epsilon)
    if steps < 1 or rounds < 1 or not 1 <= sampling_numerator <= PROBABILITY_DENOMINATOR:
        raise InvalidInputError(
            f"expected steps and rounds >= 1 and a sampling numerator from 1 to 2**53, got {steps}, {rounds} and "
            f"{sampling_numerator}"
        )

    def keeps(level: int) -> bool:
        event = SubsampledGaussian(
            noise_multiplier=level / NOISE_GRID, sampling_numerator=sampling_numerator, steps=steps
        )
        return epsilon_of_cost(add(beside, cost_of(event), times=rounds), delta=delta) <= epsilon

    if not keeps(_LARGEST):
        raise PrivacyRefusedError(
            f"expected a promise that some noise can keep, got epsilon {epsilon} with delta {delta} over "
            f"{steps * rounds} steps",
            remedy="promise a larger epsilon or delta, or train with fewer steps or a smaller sampling probability",
        )
    return _smallest(keeps, _LARGEST) / NOISE_GRID


def calibrate_variance(*, epsilon: float, delta: float, sensitivity_squared: int, releases: int) -> int:
    """The smallest whole variance of discrete Gaussian noise that keeps a promise over some releases.

    Args:
        epsilon: Of all releases together, positive.
        delta: In (0, 1).
        sensitivity_squared: Square of the L2 sensitivity of one release.
        releases: At least 1.

    Returns:
        From 1 to 2**28. The guarantee has been checked with this very number.

    Raises:
        InvalidInputError: If an argument is out of range.
        PrivacyRefusedError: If no variance up to 2**28 keeps the promise.
    """
    positive(epsilon=epsilon)
    if releases < 1 or sensitivity_squared < 1:
        raise InvalidInputError(
            f"expected releases and sensitivity_squared >= 1, got {releases} and {sensitivity_squared}"
        )

    def keeps(variance: int) -> bool:
        event = DiscreteGaussian(sensitivity_squared=sensitivity_squared, variance=variance)
        return epsilon_of_cost(add(NOTHING, cost_of(event), times=releases), delta=delta) <= epsilon

    if not keeps(LARGEST_VARIANCE):
        raise PrivacyRefusedError(
            f"expected a promise that some noise can keep, got epsilon {epsilon} with delta {delta} for {releases} "
            f"releases of squared sensitivity {sensitivity_squared}",
            remedy="promise a larger epsilon or delta, or release less, or less often",
        )
    return _smallest(keeps, LARGEST_VARIANCE)


def _smallest(keeps: Callable[[int], bool], enough: int) -> int:
    """The smallest level from 1 to ``enough`` that keeps the promise; ``enough`` does."""
    too_little = 0
    while enough - too_little > 1:
        # Geometric while the bracket spans orders of magnitude, arithmetic once it is narrow.
        middle = max(math.isqrt(max(too_little, 1) * enough), too_little + 1)
        middle = middle if enough > 2 * max(too_little, 1) else (too_little + enough) // 2
        if keeps(middle):
            enough = middle
        else:
            too_little = middle
    return enough
