"""The home of dp-accounting at run time: epsilon by numerical privacy loss distributions, beside our own accountant.

Privacy loss distributions (Koskela et al. 2020; Doroshenko et al. 2022) give a smaller epsilon than Rényi accounting for the
very same releases, because no conversion from an order to (epsilon, delta) loses anything. The figure is rounded pessimistically,
but it is informative only: what is promised, calibrated and charged is the Rényi one, which composes with whatever a
population's ledger already holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Final

from federation.errors import InvalidInputError
from federation.privacy.accounting import NOTHING, add, cost_of, epsilon_of_cost
from federation.privacy.events import (
    PROBABILITY_DENOMINATOR,
    DiscreteGaussian,
    DiscreteLaplace,
    PrivacyEvent,
    SubsampledGaussian,
)

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

_CELLS: Final = 1e4
"""Cells of the privacy-loss grid between 0 and epsilon: the figure is then accurate to about 1e-5 of itself."""
_FINEST, _COARSEST = 1e-6, 1e-2
_SMALLEST_VARIANCE: Final = 4
"""From here a discrete Gaussian differs from the continuous one by less than exp(-2 pi^2 4), which is below 1e-34."""
Times = tuple[PrivacyEvent, int]
"""An event and how often it happens."""


def epsilon_by_pld(events: Sequence[Times], *, delta: float) -> float | None:
    """Epsilon of all events together, by privacy loss distributions.

    Args:
        events: Each with the number of times it happens, at least 0.
        delta: In (0, 1).

    Returns:
        Epsilon, at least 0 and rounded up; ``None`` where there is none: noise too small for any, or discrete Gaussian
        noise of a variance below 4.

    Raises:
        InvalidInputError: If delta is not in (0, 1), or an event happens less than 0 times.
    """
    if not 0 < delta < 1 or any(times < 0 for _, times in events):
        raise InvalidInputError(
            f"expected 0 < delta < 1 and whole times >= 0, got {delta!r} and {[n for _, n in events]}"
        )
    happening = [(event, times) for event, times in events if times]
    cost = NOTHING
    for event, times in happening:
        cost = add(cost, cost_of(event), times=times)
    by_renyi = epsilon_of_cost(cost, delta=delta)
    if not happening or by_renyi == 0.0:
        return 0.0
    if not math.isfinite(by_renyi) or not all(_is_known(event) for event, _ in happening):
        return None
    # A power of two, so that the rounds of one plan mostly meet on the same grid.
    interval = 2.0 ** math.floor(math.log2(min(max(by_renyi / _CELLS, _FINEST), _COARSEST)))
    parts = [_distribution(event, interval).self_compose(_repeats(event) * times) for event, times in happening]
    epsilon = float(reduce(lambda one, other: one.compose(other), parts).get_epsilon_for_delta(delta))
    return epsilon if math.isfinite(epsilon) else None


def _is_known(event: PrivacyEvent) -> bool:
    return not isinstance(event, DiscreteGaussian) or event.variance >= _SMALLEST_VARIANCE


def _repeats(event: PrivacyEvent) -> int:
    return event.steps if isinstance(event, SubsampledGaussian) else 1


def _distribution(event: PrivacyEvent, interval: float) -> PrivacyLossDistribution:
    """The privacy loss of one step or release, under add-or-remove-one."""
    match event:
        case SubsampledGaussian():
            return _gaussian(event.noise_multiplier, event.sampling_numerator / PROBABILITY_DENOMINATOR, interval)
        case DiscreteGaussian():
            return _gaussian(math.sqrt(event.variance / event.sensitivity_squared), 1.0, interval)
        case DiscreteLaplace():
            return _pure(event.sensitivity / event.scale, interval)


@lru_cache(maxsize=64)
def _gaussian(noise: float, probability: float, interval: float) -> PrivacyLossDistribution:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=probability, value_discretization_interval=interval
    )


def _pure(epsilon: float, interval: float) -> PrivacyLossDistribution:
    """Whatever the vector, its loss is at most that of randomised response with the same pure epsilon."""
    from dp_accounting.pld import common, privacy_loss_distribution

    return privacy_loss_distribution.from_privacy_parameters(
        common.DifferentialPrivacyParameters(epsilon, 0.0), value_discretization_interval=interval
    )
