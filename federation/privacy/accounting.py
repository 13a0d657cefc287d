"""Rényi accounting of the Poisson-subsampled Gaussian mechanism.

The divergence is Mironov, Talwar & Zhang 2019 (arXiv 1908.10530, section 3.3); the conversion to (epsilon, delta) is
Canonne, Kamath & Steinke 2020 (arXiv 2004.00010, proposition 12). For fractional orders the alternating series is
summed by magnitude, which is an upper bound; dp-accounting does the same, so the two agree. Everything is computed in
logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from federation.checks import positive
from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.privacy.promise import PROBABILITY_DENOMINATOR, Guarantee, MechanismSpec, PrivacyEvent

Curve = NDArray[np.float64]
"""``[orders]`` Rényi divergences at :data:`ORDERS`."""

ORDERS: Final = np.array([1 + tenth / 10 for tenth in range(1, 100)] + [*range(11, 64), 128, 256, 512, 1024])
"""The fixed grid of orders, dp-accounting's."""
ORDERS.setflags(write=False)

_WHOLE: Final = np.isclose(ORDERS, np.rint(ORDERS), rtol=0, atol=1e-9)
_BLOCKS: Final = ((0, 64), (64, 256), (256, 1000))
"""Terms of the fractional series, summed block by block until every order has converged."""
_NEGLIGIBLE: Final = 30.0
"""Logarithm of total / term beyond which a series has converged."""
_ROUNDING: Final = 1e-14
"""Relative error of the logarithms below, added so that no result is rounded below the truth."""
_KNOWN_EVENTS: Final = frozenset({"poisson_subsampled_gaussian"})


def rdp_orders() -> Curve:
    """The orders at which curves are computed; read-only."""
    return ORDERS


@lru_cache(maxsize=4096)
def _curve(numerator: int, noise_multiplier: float) -> Curve:
    """Rényi divergence of one step at every order; infinite where the series does not converge."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if numerator == PROBABILITY_DENOMINATOR:
            curve = ORDERS / (2 * np.square(np.float64(noise_multiplier)))
        else:
            probability = numerator / PROBABILITY_DENOMINATOR
            moments = np.empty_like(ORDERS)
            moments[_WHOLE] = _log_moment_whole(probability, np.float64(noise_multiplier))
            moments[~_WHOLE] = _log_moment_fractional(probability, np.float64(noise_multiplier))
            moments = np.where(np.isnan(moments), math.inf, moments)
            curve = (np.maximum(moments, 0.0) + _ROUNDING * ORDERS) / (ORDERS - 1)
    curve.setflags(write=False)
    return curve


def _log_binomial(upper: Curve, lower: Curve) -> Curve:
    """Logarithm of the magnitude of the generalised binomial coefficient; minus infinity where it is zero."""
    return special.gammaln(upper + 1) - special.gammaln(lower + 1) - special.gammaln(upper - lower + 1)


@lru_cache(maxsize=1)
def _whole_coefficients() -> tuple[Curve, Curve, Curve]:
    orders = np.rint(ORDERS[_WHOLE])[:, None]
    terms = np.arange(orders.max() + 1)[None, :]
    with np.errstate(invalid="ignore"):
        coefficients = np.where(terms <= orders, _log_binomial(orders, np.minimum(terms, orders)), -math.inf)
    return orders, terms, coefficients


def _log_moment_whole(probability: float, noise_multiplier: np.float64) -> Curve:
    """``log A_alpha`` for whole orders: a finite binomial sum."""
    orders, terms, coefficients = _whole_coefficients()
    logs = (
        coefficients
        + terms * math.log(probability)
        + (orders - terms) * math.log1p(-probability)
        + (terms * terms - terms) / (2 * noise_multiplier**2)
    )
    return np.asarray(special.logsumexp(logs, axis=1), dtype=np.float64)


def _log_moment_fractional(probability: float, noise_multiplier: np.float64) -> Curve:
    """``log A_alpha`` for fractional orders: two infinite series, split where the densities cross."""
    orders = ORDERS[~_WHOLE]
    result = np.full(orders.shape, math.inf)
    total = np.full(orders.shape, -math.inf)
    previous = np.full((2, orders.size), -math.inf)
    open_orders = np.arange(orders.size)
    for first, last in _BLOCKS:
        terms = _fractional_terms(orders[open_orders], np.arange(first, last), probability, noise_multiplier)
        running = np.logaddexp.accumulate(
            np.concatenate([total[open_orders, None], np.logaddexp(terms[0], terms[1])], axis=1), axis=1
        )[:, 1:]
        before = np.concatenate([previous[:, open_orders, None], terms[:, :, :-1]], axis=2)
        small = np.maximum(terms[0], terms[1]) < running - _NEGLIGIBLE
        done = np.all(terms < before, axis=0) & small
        converged = done.any(axis=1)
        result[open_orders[converged]] = running[converged, done[converged].argmax(axis=1)]
        total[open_orders] = running[:, -1]
        previous[:, open_orders] = terms[:, :, -1]
        open_orders = open_orders[~converged]
        if not open_orders.size:
            break
    return result


def _fractional_terms(
    orders: Curve, terms: NDArray[np.int64], probability: float, noise_multiplier: np.float64
) -> Curve:
    """``[2, orders, terms]`` logarithms of the terms of both series."""
    alpha, index = orders[:, None], terms[None, :].astype(np.float64)
    rest = alpha - index
    crossing = noise_multiplier**2 * math.log(1 / probability - 1) + 0.5
    coefficient = _log_binomial(alpha, index)
    log_drawn, log_not_drawn = math.log(probability), math.log1p(-probability)
    double_variance = 2 * noise_multiplier**2
    lower = index * log_drawn + rest * log_not_drawn + (index * index - index) / double_variance
    upper = rest * log_drawn + index * log_not_drawn + (rest * rest - rest) / double_variance
    lower += special.log_ndtr((crossing - index) / noise_multiplier)
    upper += special.log_ndtr((rest - crossing) / noise_multiplier)
    return coefficient + np.stack([lower, upper])


def _epsilon(curve: Curve, delta: float) -> float:
    """Smallest epsilon over the orders (Canonne, Kamath & Steinke 2020, proposition 12)."""
    candidates = curve + np.log1p(-1 / ORDERS) - np.log(delta * ORDERS) / (ORDERS - 1)
    # A divergence so small that the total variation distance is below delta needs no epsilon (Bretagnolle & Huber
    # 1979).
    candidates = np.where(delta**2 + np.expm1(-curve) > 0, 0.0, candidates)
    return max(0.0, float(np.min(candidates)))


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
    if not 0 < delta < 1:
        raise InvalidInputError(f"expected 0 < delta < 1, got {delta!r}")
    total = np.zeros_like(ORDERS)
    for event in events:
        kind: object = getattr(event, "kind", None)
        if kind not in _KNOWN_EVENTS:
            raise PrivacyRefusedError(
                f"expected an event of a known kind ({sorted(_KNOWN_EVENTS)}), got {kind!r}",
                remedy="use a version of Cohortium that can account for it; an event is never skipped",
            )
        positive(noise_multiplier=event.noise_multiplier)
        total = total + event.steps * _curve(event.sampling_numerator, event.noise_multiplier)
    return _epsilon(total, delta) if total.any() else 0.0


def spent(mechanism: MechanismSpec, *, rounds_done: int, delta: float) -> Guarantee:
    """What the first ``rounds_done`` rounds of a study have spent together.

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
    epsilon = epsilon_of([round_event(mechanism)] * rounds_done, delta=delta)
    if not math.isfinite(epsilon):
        raise PrivacyRefusedError(
            f"expected noise that gives a finite epsilon, got noise multiplier {mechanism.noise_multiplier}",
            remedy="raise the noise multiplier, or calibrate it to a target epsilon",
        )
    return Guarantee(epsilon=epsilon, delta=delta)


def round_event(mechanism: MechanismSpec) -> PrivacyEvent:
    """What one round of the mechanism does."""
    return PrivacyEvent(
        noise_multiplier=mechanism.noise_multiplier,
        sampling_numerator=mechanism.sampling_numerator,
        steps=mechanism.steps_per_round,
    )
