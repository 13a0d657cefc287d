"""From a promised (epsilon, delta) to the noise that keeps it."""

from __future__ import annotations

import math
from typing import Final

from federation.checks import positive, probability
from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.privacy.accounting import epsilon_of
from federation.privacy.promise import PROBABILITY_DENOMINATOR, PrivacyEvent

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


def calibrate_noise_multiplier(*, epsilon: float, delta: float, sampling_numerator: int, steps: int) -> float:
    """The smallest noise multiplier on the grid that keeps the promise over all steps.

    Args:
        epsilon: Target over the whole study, positive.
        delta: Target, in (0, 1).
        sampling_numerator: Chance that a patient enters a step, times 2**53.
        steps: Steps over the whole study.

    Returns:
        A multiple of 1e-4. The guarantee has been checked with this very number.

    Raises:
        InvalidInputError: If an argument is out of range.
        PrivacyRefusedError: If no noise multiplier up to 10,000 keeps the promise.
    """
    positive(epsilon=epsilon)
    if steps < 1 or not 1 <= sampling_numerator <= PROBABILITY_DENOMINATOR:
        raise InvalidInputError(
            f"expected steps >= 1 and a sampling numerator from 1 to 2**53, got {steps} and {sampling_numerator}"
        )

    def keeps(level: int) -> bool:
        event = PrivacyEvent(noise_multiplier=level / NOISE_GRID, sampling_numerator=sampling_numerator, steps=steps)
        return epsilon_of([event], delta=delta) <= epsilon

    if not keeps(_LARGEST):
        raise PrivacyRefusedError(
            f"expected a promise that some noise can keep, got epsilon {epsilon} with delta {delta} over {steps} steps",
            remedy="promise a larger epsilon or delta, or train with fewer steps or a smaller sampling probability",
        )
    too_little, enough = 0, _LARGEST
    while enough - too_little > 1:
        # Geometric while the bracket spans orders of magnitude, arithmetic once it is narrow.
        middle = max(math.isqrt(max(too_little, 1) * enough), too_little + 1)
        middle = middle if enough > 2 * max(too_little, 1) else (too_little + enough) // 2
        if keeps(middle):
            enough = middle
        else:
            too_little = middle
    return enough / NOISE_GRID
