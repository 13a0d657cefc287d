"""Distributions of generalised linear models: link, variance, deviance and log-likelihood.

McCullagh & Nelder 1989, Generalized Linear Models, chapters 2 and 8. Links: identity (linear), logit (logistic), log (Poisson and
gamma).
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln, xlogy

FloatArray = NDArray[np.float64]
Family = Literal["linear", "logistic", "poisson", "gamma"]

HAS_DISPERSION: Final = frozenset({"linear", "gamma"})
"""Families whose spread is estimated; their tests use Student's t."""
_LARGEST_PREDICTOR: Final = 30.0
"""Exponents are cut here while a fit has not converged: exp(30) = 1e13."""


def mean_of(family: Family, predictor: FloatArray) -> FloatArray:
    """``[R]`` expected outcomes."""
    match family:
        case "linear":
            return predictor
        case "logistic":
            return expit(predictor)
        case "poisson" | "gamma":
            return np.exp(np.clip(predictor, -_LARGEST_PREDICTOR, _LARGEST_PREDICTOR))


def weights_of(family: Family, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of Fisher scoring: the expected weight of a record, and the factor of its residual in the score.

    Returns:
        ``[R]`` ``(dmu/deta)^2 / V(mu)`` and ``[R]`` ``(dmu/deta) / V(mu)``.
    """
    ones = np.ones_like(mean)
    match family:
        case "linear":
            return ones, ones
        case "logistic":
            return mean * (1.0 - mean), ones
        case "poisson":
            return mean, ones
        case "gamma":
            return ones, 1.0 / mean


def variance_of(family: Family, mean: FloatArray) -> FloatArray:
    """``[R]`` variance function V(mu)."""
    match family:
        case "linear":
            return np.ones_like(mean)
        case "logistic":
            return mean * (1.0 - mean)
        case "poisson":
            return mean
        case "gamma":
            return mean**2


def deviance_of(family: Family, outcome: FloatArray, mean: FloatArray) -> FloatArray:
    """``[R]`` unit deviances."""
    match family:
        case "linear":
            return (outcome - mean) ** 2
        case "logistic":
            return -2.0 * (xlogy(outcome, mean) + xlogy(1.0 - outcome, 1.0 - mean))
        case "poisson":
            return 2.0 * (xlogy(outcome, np.where(outcome > 0, outcome, 1.0) / mean) - (outcome - mean))
        case "gamma":
            return 2.0 * ((outcome - mean) / mean - np.log(outcome / mean))


def base_likelihood(family: Family, outcome: FloatArray) -> FloatArray:
    """``[R]`` what the log-likelihood has beside the deviance and does not depend on the mean; 0 where dispersion is estimated.

    The log-likelihood of the logistic and the Poisson family is the sum of this less half of the deviance.
    """
    if family == "poisson":
        return xlogy(outcome, outcome) - outcome - gammaln(outcome + 1.0)
    return np.zeros_like(outcome)


def has_support(family: Family, outcome: FloatArray) -> bool:
    """Whether every outcome is possible: 0 or 1, whole and not negative, or positive."""
    match family:
        case "linear":
            return bool(np.isfinite(outcome).all())
        case "logistic":
            return bool(np.isin(outcome, (0.0, 1.0)).all())
        case "poisson":
            return bool(np.all((outcome >= 0) & (outcome == np.rint(outcome))))
        case "gamma":
            return bool(np.all(np.isfinite(outcome) & (outcome > 0)))
