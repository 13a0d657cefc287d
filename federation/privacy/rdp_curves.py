"""Rényi divergences of the mechanisms at a fixed grid of orders.

Poisson-subsampled Gaussian: Mironov, Talwar & Zhang 2019 (arXiv 1908.10530, section 3.3); for fractional orders the
alternating series is summed by magnitude, which is an upper bound; dp-accounting does the same, so the two agree.
Discrete Gaussian: Canonne, Kamath & Steinke 2020 (arXiv 2004.00010, theorem 14). Discrete Laplace: the divergence of
any pure mechanism, Mironov 2017 (arXiv 1702.07476, proposition 3). Everything is computed in logarithms.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from federation.privacy.events import PROBABILITY_DENOMINATOR

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


@lru_cache(maxsize=4096)
def subsampled_gaussian(numerator: int, noise_multiplier: float) -> Curve:
    """Rényi divergence of one Poisson-subsampled Gaussian step at every order.

    Args:
        numerator: Chance that a patient enters the step, times 2**53.
        noise_multiplier: Noise standard deviation / clipping norm, positive.

    Returns:
        ``[orders]``, read-only; infinite where the series does not converge.
    """
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


def discrete_gaussian(sensitivity_squared: int, variance: int) -> Curve:
    """Rényi divergence of one discrete Gaussian release: that of the continuous Gaussian.

    Args:
        sensitivity_squared: Square of the L2 sensitivity.
        variance: Of the noise.
    """
    return ORDERS * (sensitivity_squared / (2 * variance))


def pure(epsilon: float) -> Curve:
    """The largest Rényi divergence of any mechanism of pure ``epsilon``: that of randomised response.

    Args:
        epsilon: Positive.
    """
    # log((p^a q^(1-a) + q^a p^(1-a)) / ...) with p / q = e^epsilon; stable for large orders.
    log_p, log_q = -np.logaddexp(0.0, -epsilon), -np.logaddexp(0.0, epsilon)
    moment = np.logaddexp(
        ORDERS * log_p + (1 - ORDERS) * log_q,
        ORDERS * log_q + (1 - ORDERS) * log_p,
    )
    return np.minimum((np.maximum(moment, 0.0) + _ROUNDING * ORDERS) / (ORDERS - 1), epsilon)
