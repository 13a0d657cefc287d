"""Rényi accounting in whole numbers: what every release costs, and the epsilon of everything together.

A cost is the Rényi divergence at each order of a fixed grid, in nano-units and rounded *up*. Whole numbers add exactly
in any order, so the manifest's promise, the calibration of the noise and the ledger at a site all come to the same sum,
to the last unit. The conversion to (epsilon, delta) is Canonne, Kamath & Steinke 2020 (arXiv 2004.00010, proposition 12).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, cast

import numpy as np

from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.privacy.events import DiscreteGaussian, DiscreteLaplace, PrivacyEvent, SubsampledGaussian
from federation.privacy.promise import Guarantee, MechanismSpec
from federation.privacy.rdp_curves import ORDERS, Curve, discrete_gaussian, pure, subsampled_gaussian

Cost = tuple[int, ...]
"""One whole number for each of :data:`ORDERS`: a Rényi divergence in nano-units, rounded up."""

NANO: Final = 10**9
"""Nano-units in one."""
UNBOUNDED: Final = 2**62
"""At this order there is no bound, and there never will be one again."""
NOTHING: Final[Cost] = (0,) * len(ORDERS)


def cost_of(event: PrivacyEvent) -> Cost:
    """What one event costs at every order.

    Raises:
        PrivacyRefusedError: If the event is of a kind that this accountant does not know. An event is never skipped.
    """
    kind: object = getattr(cast("object", event), "kind", type(event).__name__)
    if isinstance(event, SubsampledGaussian) and kind == "poisson_subsampled_gaussian":
        return _steps_cost(event.sampling_numerator, event.noise_multiplier, event.steps)
    if isinstance(event, DiscreteGaussian) and kind == "discrete_gaussian":
        return _rounded_up(discrete_gaussian(event.sensitivity_squared, event.variance))
    if isinstance(event, DiscreteLaplace) and kind == "discrete_laplace":
        return _rounded_up(pure(event.sensitivity / event.scale))
    raise PrivacyRefusedError(
        f"expected an event of a known kind, got {kind!r}",
        remedy="use a version of Cohortium that can account for it; an event is never skipped",
    )


@lru_cache(maxsize=4096)
def _steps_cost(numerator: int, noise_multiplier: float, steps: int) -> Cost:
    return _rounded_up(subsampled_gaussian(numerator, noise_multiplier) * steps)


def _rounded_up(curve: Curve) -> Cost:
    return tuple(
        min(math.ceil(value * NANO), UNBOUNDED) if math.isfinite(value) else UNBOUNDED for value in curve.tolist()
    )


def add(first: Cost, second: Cost, *, times: int = 1) -> Cost:
    """``first + times * second``, at every order; unbounded stays unbounded.

    Raises:
        InvalidInputError: If ``times`` is negative: nothing is ever refunded.
    """
    if times < 0:
        raise InvalidInputError(f"expected times >= 0, got {times}", remedy="a charge is never taken back")
    return tuple(min(a + times * b, UNBOUNDED) for a, b in zip(first, second, strict=True))


def epsilon_by_order(cost: Cost, *, delta: float) -> Curve:
    """``[orders]`` the epsilon that each order alone proves.

    Raises:
        InvalidInputError: If delta is not in (0, 1).
    """
    if not 0 < delta < 1:
        raise InvalidInputError(f"expected 0 < delta < 1, got {delta!r}")
    whole = np.array(cost, dtype=np.float64)
    curve = np.where(whole < UNBOUNDED, whole / NANO, math.inf)
    candidates = curve + np.log1p(-1 / ORDERS) - np.log(delta * ORDERS) / (ORDERS - 1)
    # A divergence so small that the total variation distance is below delta needs no epsilon (Bretagnolle & Huber
    # 1979).
    candidates = np.where(delta**2 + np.expm1(-curve) > 0, 0.0, candidates)
    return np.maximum(candidates, 0.0)


def epsilon_of_cost(cost: Cost, *, delta: float) -> float:
    """Smallest epsilon over the orders; 0 for :data:`NOTHING`, infinite if no order has a bound.

    Raises:
        InvalidInputError: If delta is not in (0, 1).
    """
    best = float(np.min(epsilon_by_order(cost, delta=delta)))
    return best if any(cost) else 0.0


def cost_of_all(events: Iterable[PrivacyEvent]) -> Cost:
    """What all events together cost, whatever their order and kinds."""
    total = NOTHING
    for event in events:
        total = add(total, cost_of(event))
    return total


def epsilon_of(events: Iterable[PrivacyEvent], *, delta: float) -> float:
    """Epsilon of everything in ``events`` together, whatever their order and parameters.

    Args:
        events: What mechanisms did to the same patients.
        delta: Between 0 and 1.

    Returns:
        Epsilon at least 0; infinite if the noise is too small to give any guarantee.

    Raises:
        PrivacyRefusedError: If an event is of a kind that this accountant does not know.
        InvalidInputError: If delta is not in (0, 1).
    """
    return epsilon_of_cost(cost_of_all(events), delta=delta)


def round_event(mechanism: MechanismSpec) -> SubsampledGaussian:
    """What one round of the mechanism does."""
    return SubsampledGaussian(
        noise_multiplier=mechanism.noise_multiplier,
        sampling_numerator=mechanism.sampling_numerator,
        steps=mechanism.steps_per_round,
    )


def spent(mechanism: MechanismSpec, *, rounds_done: int, delta: float) -> Guarantee:
    """What the first ``rounds_done`` rounds of training have spent together.

    Args:
        mechanism: The site's mechanism.
        rounds_done: From 0 to the study's rounds.
        delta: Of the promise.

    Raises:
        InvalidInputError: If ``rounds_done`` is out of range.
        PrivacyRefusedError: If the noise is too small to give any guarantee.
    """
    if not 0 <= rounds_done <= mechanism.rounds:
        raise InvalidInputError(f"expected rounds_done from 0 to {mechanism.rounds}, got {rounds_done}")
    epsilon = epsilon_of_cost(add(NOTHING, cost_of(round_event(mechanism)), times=rounds_done), delta=delta)
    if not math.isfinite(epsilon):
        raise PrivacyRefusedError(
            f"expected noise that gives a finite epsilon, got noise multiplier {mechanism.noise_multiplier}",
            remedy="raise the noise multiplier, or calibrate it to a target epsilon",
        )
    return Guarantee(epsilon=epsilon, delta=delta)
