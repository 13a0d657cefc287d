"""Lower bounds on epsilon from guesses about many canaries in one training run.

Every canary is in or out by its own fair coin. After training, the attacker guesses "in" for the highest scores and
"out" for the lowest, and abstains on the rest. How many guesses can be right is limited by the privacy of training:

- *any mechanism*: the number of right guesses is dominated by a binomial with success probability
  ``exp(epsilon) / (1 + exp(epsilon))``, plus a term for delta (Steinke, Nasr & Jagielski 2023, arXiv 2305.08846,
  theorem 5.2). With 5,000 canaries it cannot prove more than an epsilon of 6, however right the guesses are.
- *Gaussian trade-off*: the whole curve of a mu-GDP mechanism limits the guesses (Mahloujifar, Melis & Chaudhuri 2024,
  arXiv 2410.22235, algorithm 3). Sharper, and the one that shows missing clipping.

The numbers of guesses are fixed before the scores are seen, and the error is shared among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom

from experiments.audit.gaussian_dp import FloatArray, epsilon_of_mu
from federation.errors import InvalidInputError

SHARES_GUESSED: Final = (0.05, 0.1, 0.2, 0.5)
"""Of the canaries: fixed in advance, so each is a test of its own at a share of the error."""
_STEPS: Final = 40
"""Halvings: the bound is exact to 1e-9 of the range searched."""
_LARGEST_EPSILON: Final = 50.0
_LARGEST_MU: Final = 20.0


@dataclass(frozen=True)
class OneRunBound:
    """The better of the two bounds.

    Args:
        epsilon: Lower bound at the delta asked for.
        num_guesses: Guesses behind it.
        num_correct: Right ones.
        any_mechanism: Best bound by Steinke et al.
        gaussian: Best bound by Mahloujifar et al.
    """

    epsilon: float
    num_guesses: int
    num_correct: int
    any_mechanism: float
    gaussian: float


def one_run_bound(scores: FloatArray, included: NDArray[np.bool_], *, delta: float, confidence: float) -> OneRunBound:
    """Lower bound on the epsilon of training, from one score a canary.

    Args:
        scores: ``[m]``; larger means more likely included.
        included: ``[m]`` the coin of each canary.
        delta: In (0, 1).
        confidence: That the bound holds: half of the allowed error goes to each method, shared equally among the
            numbers of guesses.

    Raises:
        InvalidInputError: If there are fewer than 10 canaries, the lengths differ or a score is not finite.
    """
    if scores.shape != included.shape or scores.size < 10 or not np.isfinite(scores).all():  # noqa: PLR2004
        raise InvalidInputError(
            f"expected at least 10 finite scores and a coin for each, got {scores.size} scores and {included.size} coins"
        )
    error = (1 - confidence) / (2 * len(SHARES_GUESSED))
    order = np.argsort(scores, kind="stable")
    best: dict[str, tuple[float, int, int]] = {"any": (0.0, 0, 0), "gaussian": (0.0, 0, 0)}
    for share in SHARES_GUESSED:
        half = max(1, int(share * scores.size) // 2)
        correct = int(np.sum(~included[order[:half]]) + np.sum(included[order[-half:]]))
        found = {
            "any": any_mechanism_bound(scores.size, 2 * half, correct, delta=delta, error=error),
            "gaussian": gaussian_tradeoff_bound(scores.size, 2 * half, correct, delta=delta, error=error),
        }
        for name, epsilon in found.items():
            best[name] = max(best[name], (epsilon, 2 * half, correct))
    epsilon, num_guesses, num_correct = max(best.values())
    return OneRunBound(
        epsilon=epsilon,
        num_guesses=num_guesses,
        num_correct=num_correct,
        any_mechanism=best["any"][0],
        gaussian=best["gaussian"][0],
    )


def any_mechanism_bound(canaries: int, guesses: int, correct: int, *, delta: float, error: float) -> float:
    """Largest epsilon that is refuted for *every* (epsilon, delta) mechanism (Steinke et al. 2023, theorem 5.2).

    Args:
        canaries: m, each in or out by a fair coin.
        guesses: Canaries that were guessed, at most m.
        correct: Right guesses.
        delta: In (0, 1).
        error: Chance that the bound is wrong.
    """
    return _largest(
        lambda epsilon: _chance(canaries, guesses, correct, epsilon=epsilon, delta=delta) <= error, _LARGEST_EPSILON
    )


def _chance(canaries: int, guesses: int, correct: int, *, epsilon: float, delta: float) -> float:
    """Bound on the probability of so many right guesses under (epsilon, delta)-DP."""
    success = float(expit(epsilon))
    tail = float(binom.sf(correct - 1, guesses, success))
    fewer = np.arange(1, correct + 1)
    slopes = (binom.sf(correct - fewer - 1, guesses, success) - tail) / fewer
    return min(1.0, tail + 2 * canaries * delta * float(np.max(slopes, initial=0.0)))


def gaussian_tradeoff_bound(canaries: int, guesses: int, correct: int, *, delta: float, error: float) -> float:
    """Epsilon of the largest mu that is refuted (Mahloujifar et al. 2024, algorithm 3). Arguments as above."""
    if correct == 0:
        return 0.0
    mu = _largest(
        lambda mu: _is_refuted(canaries, guesses, correct, mu=mu, error=error),
        _LARGEST_MU,
    )
    return epsilon_of_mu(mu, delta=delta)


def _is_refuted(canaries: int, guesses: int, correct: int, *, mu: float, error: float) -> bool:
    """Whether a mu-GDP mechanism gives so many right guesses with a probability below ``error``.

    ``right`` and ``wrong`` are the expected shares of right and wrong guesses that go with the event "at least i right
    guesses"; going down from ``correct``, the trade-off curve makes them grow. At zero they may not exceed the guesses.
    """
    right = error * correct / canaries
    wrong = error * (guesses - correct) / canaries
    for fewer in range(correct - 1, -1, -1):
        grown = max(wrong, float(ndtr(ndtri(right) - mu)))
        if grown == wrong:
            break  # neither can change any more
        right = min(1.0, right + (fewer / (guesses - fewer)) * (grown - wrong))
        wrong = grown
    return right + wrong > guesses / canaries


def _largest(is_refuted: Callable[[float], bool], limit: float) -> float:
    """The largest level up to ``limit`` that is refuted; 0 if none is. Refutation is monotone in the level."""
    low, high = 0.0, limit
    for _ in range(_STEPS):
        middle = math.fsum((low, high)) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low if low > limit * 2.0 ** (1 - _STEPS) else 0.0
