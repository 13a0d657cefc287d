"""Gaussian differential privacy, and its lower bound from the scores of an attack.

A mechanism is mu-GDP if telling its outputs on neighbouring data sets apart is no easier than telling N(0, 1) from
N(mu, 1) (Dong, Roth & Su 2019, arXiv 1905.02383). One noisy sum with every patient drawn is exactly (1 / noise
multiplier)-GDP, so its true epsilon has a closed formula (Balle & Wang 2018, arXiv 1805.06530), and one point of an
attack's ROC curve bounds mu from below (Nasr et al. 2023, arXiv 2302.07956).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri
from scipy.stats import beta

from federation.checks import positive
from federation.errors import InvalidInputError

FloatArray = NDArray[np.float64]
Counts = NDArray[np.int64]

_PILOT: Final = 20
"""One score in so many chooses thresholds; the others measure at them, so no threshold was chosen by its luck."""
_MIDDLE: Final = 0.9
"""Share of the error for the threshold midway between the medians, which is the best one for a Gaussian."""
_THRESHOLDS: Final = 128
_LARGEST_MU: Final = 1e3
_TOLERANCE: Final = 1e-10


def epsilon_of_mu(mu: float, *, delta: float) -> float:
    """The exact epsilon of a mu-GDP mechanism (Balle & Wang 2018, theorem 8).

    Args:
        mu: At least 0; distance of the two means over the standard deviation of the noise.
        delta: In (0, 1).

    Raises:
        InvalidInputError: If an argument is out of range.
    """
    _check(delta=delta)
    if not 0 <= mu <= _LARGEST_MU:
        raise InvalidInputError(f"expected mu from 0 to {_LARGEST_MU:g}, got {mu!r}")
    if mu == 0 or _log_delta(0.0, mu) <= math.log(delta):
        return 0.0
    enough = 1.0
    while _log_delta(enough, mu) > math.log(delta):
        enough *= 2
    return _root(lambda epsilon: _log_delta(epsilon, mu) - math.log(delta), enough)


def mu_of_epsilon(epsilon: float, *, delta: float) -> float:
    """The mu whose exact epsilon is ``epsilon``: its inverse is the smallest noise multiplier of one release.

    Raises:
        InvalidInputError: If an argument is out of range.
    """
    positive(epsilon=epsilon)
    _check(delta=delta)
    enough = 1.0
    while _log_delta(epsilon, enough) < math.log(delta):
        enough *= 2
    return _root(lambda mu: _log_delta(epsilon, mu) - math.log(delta), enough)


def _check(*, delta: float) -> None:
    if not 0 < delta < 1:
        raise InvalidInputError(f"expected 0 < delta < 1, got {delta!r}")


def _log_delta(epsilon: float, mu: float) -> float:
    """Logarithm of the smallest delta of a mu-GDP mechanism at this epsilon; -infinity at mu 0."""
    if mu <= 0:
        return -math.inf
    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return first + math.log(-math.expm1(second - first)) if second < first else -math.inf


def _root(gap: object, enough: float) -> float:
    return cast("float", brentq(gap, 1e-12, enough, xtol=_TOLERANCE))


def at_least(successes: Counts | int, trials: int, *, error: float) -> FloatArray:
    """Lower limits of success probabilities, each wrong with probability at most ``error`` (Clopper & Pearson 1934)."""
    found = np.asarray(successes, dtype=np.float64)
    return np.where(found > 0, beta.ppf(error, np.maximum(found, 1), trials - found + 1), 0.0)


def at_most(successes: Counts | int, trials: int, *, error: float) -> FloatArray:
    """Upper limits of success probabilities, each wrong with probability at most ``error`` (Clopper & Pearson 1934)."""
    found = np.asarray(successes, dtype=np.float64)
    return np.where(found < trials, beta.ppf(1 - error, found + 1, np.maximum(trials - found, 1)), 1.0)


@dataclass(frozen=True)
class GaussianBound:
    """A lower bound on mu, and the epsilon that it implies.

    Args:
        mu: Lower bound, at least 0.
        epsilon: Of a mechanism with this mu, at the delta asked for.
        threshold: Scores above it were called "present".
    """

    mu: float
    epsilon: float
    threshold: float


def gaussian_bound(present: FloatArray, absent: FloatArray, *, delta: float, confidence: float) -> GaussianBound:
    """Lower bound on the epsilon of a Gaussian mechanism, from scores with and without the canary.

    The first scores choose two thresholds: midway between the medians, and where the pilot's own limit is best (which
    catches what is not Gaussian at all, such as a leak now and then). On the other scores, the true
    and the false positive rate each have a one-sided Clopper-Pearson limit: ``mu >= quantile(TPR) - quantile(FPR)``.
    The error is shared among thresholds and rates.

    Args:
        present: ``[n]`` independent scores with the canary in the data; larger means more likely present.
        absent: ``[n]`` independent scores without it.
        delta: In (0, 1).
        confidence: That the bound holds, such as 0.95.

    Raises:
        InvalidInputError: If there are fewer than 200 scores a side, a score is not finite or delta is out of range.
    """
    _check(delta=delta)
    fewest = min(present.size, absent.size)
    if fewest < 10 * _PILOT or not (np.isfinite(present).all() and np.isfinite(absent).all()):
        raise InvalidInputError(
            f"expected at least {10 * _PILOT} finite scores a side, got {fewest} or some not finite"
        )
    error, pilot = 1 - confidence, fewest // _PILOT
    tried, kept = (present[:pilot], absent[:pilot]), (present[pilot:], absent[pilot:])
    candidates = np.quantile(np.concatenate(tried), np.linspace(0, 1, _THRESHOLDS))
    middle = (np.median(tried[0]) + np.median(tried[1])) / 2
    best = candidates[int(np.argmax(_mu_limits(*tried, candidates, error=error / 2)))]
    limits = [
        float(_mu_limits(*kept, np.array([threshold]), error=share * error / 2)[0])
        for threshold, share in ((middle, _MIDDLE), (best, 1 - _MIDDLE))
    ]
    mu = max(0.0, *limits)
    threshold = middle if limits[0] >= limits[1] else best
    return GaussianBound(mu=mu, epsilon=epsilon_of_mu(mu, delta=delta), threshold=float(threshold))


def _mu_limits(present: FloatArray, absent: FloatArray, thresholds: FloatArray, *, error: float) -> FloatArray:
    """``[thresholds]`` lower limits of mu, each by itself."""
    true_rate = at_least(_above(present, thresholds), present.size, error=error)
    false_rate = at_most(_above(absent, thresholds), absent.size, error=error)
    # A limit of 0 or 1 has no finite quantile: it bounds nothing.
    usable = (true_rate > 0) & (false_rate < 1)
    limits = np.full(thresholds.shape, -np.inf)
    limits[usable] = ndtri(true_rate[usable]) - ndtri(false_rate[usable])
    return limits


def _above(scores: FloatArray, thresholds: FloatArray) -> Counts:
    return scores.size - np.searchsorted(np.sort(scores), thresholds, side="right").astype(np.int64)
