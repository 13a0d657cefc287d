"""The audits' bounds hold as often as they say, are close to the truth, and refute what is false.

Acceptance of the audit of one release (security.md, section 9): at epsilon 1, 2, 4 and 8 with delta 1e-5 and 200,000
releases a side, the bound is at most the true epsilon in at least 95 of 100 seeds and at least 0.9 of it; with the noise
halved it exceeds even the accountant's larger value, every time. The whole of it runs in ``make test-all``.
"""

from __future__ import annotations

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.special import expit
from scipy.stats import binom

from experiments.audit.gaussian_dp import epsilon_of_mu, mu_of_epsilon
from experiments.audit.mechanism import audit_mechanism, claim_of_one_release
from experiments.audit.one_run import audit_one_run
from experiments.audit.one_run_bounds import any_mechanism_bound, gaussian_tradeoff_bound, one_run_bound
from federation.privacy.accounting import epsilon_of
from federation.privacy.events import SubsampledGaussian
from federation.privacy.randomness import seeded_streams
from tests.experiments.audit.audited_study import DELTA, one_release, subject

pytestmark = pytest.mark.statistical

EPSILONS = (1.0, 2.0, 4.0, 8.0)


def _bound_of_one_release(epsilon: float, *, noise: float, seed: int) -> float:
    return audit_mechanism(
        one_release(epsilon, noise=noise),
        delta=DELTA,
        manifest_digest="sha256:0",
        streams=seeded_streams(seed, provenance="synthetic"),
        seeded=True,
        samples=200_000,
    ).lower_bound_epsilon


def _judge_one_release(epsilon: float, *, seeds: range, may_exceed: int) -> None:
    right = [_bound_of_one_release(epsilon, noise=1.0, seed=seed) for seed in seeds]
    assert sum(bound > epsilon for bound in right) <= may_exceed
    assert min(right) >= 0.9 * epsilon
    claimed = claim_of_one_release(one_release(epsilon), delta=DELTA)
    assert claimed > epsilon
    halved = [_bound_of_one_release(epsilon, noise=0.5, seed=seed) for seed in seeds]
    assert min(halved) > claimed, "half the noise must be noticed by every seed"


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_the_bound_of_one_release_is_below_and_near_the_truth(epsilon: float) -> None:
    _judge_one_release(epsilon, seeds=range(3), may_exceed=0)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_acceptance_of_the_audit_of_one_release(epsilon: float) -> None:
    _judge_one_release(epsilon, seeds=range(1000, 1100), may_exceed=5)


CANARIES, GUESSES = 1000, 200


def _gaussian_guesses(mu: float, trials: int, *, seed: int) -> np.ndarray:
    """``[trials]`` right guesses against a Gaussian mechanism that treats every canary by itself: the worst mu-GDP allows."""
    generator = np.random.default_rng(seed)
    included = generator.integers(0, 2, (trials, CANARIES)).astype(bool)
    order = np.argsort(generator.normal(size=(trials, CANARIES)) + mu * included, axis=1)
    ranked = np.take_along_axis(included, order, axis=1)
    half = GUESSES // 2
    return np.sum(~ranked[:, :half], axis=1) + np.sum(ranked[:, -half:], axis=1)


@pytest.mark.parametrize("mu", [0.5, 1.5])
def test_the_gaussian_bound_errs_no_more_often_than_it_says(mu: float) -> None:
    trials, error = 400, 0.05
    truth = epsilon_of_mu(mu, delta=DELTA)
    most_errors = binom.ppf(1 - 1e-4, trials, error)

    def errors(actual: float) -> int:
        found = _gaussian_guesses(actual, trials, seed=5)
        bounds = {
            c: gaussian_tradeoff_bound(CANARIES, GUESSES, c, delta=DELTA, error=error) for c in set(found.tolist())
        }
        return sum(bounds[c] > truth for c in found.tolist())

    assert errors(mu) <= most_errors
    assert errors(2 * mu) > trials / 2, "twice the promised leakage must be noticed"


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_the_bound_for_any_mechanism_errs_no_more_often_than_it_says(epsilon: float) -> None:
    # Randomised response on each canary's coin: the mechanism that (epsilon, 0) privacy limits least.
    trials, error = 2000, 0.05
    generator = np.random.default_rng(6)

    def errors(actual: float) -> int:
        found = generator.binomial(GUESSES, expit(actual), trials)
        bounds = {c: any_mechanism_bound(CANARIES, GUESSES, c, delta=1e-12, error=error) for c in set(found.tolist())}
        return sum(bounds[c] > epsilon for c in found.tolist())

    assert binom.ppf(1e-4, trials, error) / 4 < errors(epsilon) <= binom.ppf(1 - 1e-4, trials, error)
    assert errors(epsilon + 0.7) > trials / 2


@pytest.mark.slow
def test_the_shared_error_covers_all_numbers_of_guesses() -> None:
    mu, trials = mu_of_epsilon(4.0, delta=DELTA), 60
    generator = np.random.default_rng(7)

    def errors(actual: float) -> int:
        wrong = 0
        for _ in range(trials):
            included = generator.integers(0, 2, 2000).astype(bool)
            scores = generator.normal(size=2000) + actual * included
            wrong += one_run_bound(scores, included, delta=DELTA, confidence=0.95).epsilon > 4.0
        return wrong

    assert errors(mu) <= binom.ppf(1 - 1e-4, trials, 0.05)
    assert errors(2.5 * mu) > trials / 2


@pytest.mark.parametrize(
    ("noise", "probability", "steps", "delta"),
    [(1.1, 0.1, 400, 1e-3), (1.3, 0.5, 20, 1e-5), (4.0, 1.0, 30, 1e-5), (0.8, 0.02, 200, 1e-5)],
)
def test_the_gaussian_curve_is_no_stricter_than_the_promise(
    noise: float, probability: float, steps: int, delta: float
) -> None:
    # Subsampled training is not exactly Gaussian. The bound by the Gaussian curve refutes a promise only if the promised
    # training leaks no more than the Gaussian mechanism of the same (epsilon, delta), at every smaller epsilon as well.
    numerator = int(probability * 2**53)
    event = SubsampledGaussian(noise_multiplier=noise, sampling_numerator=numerator, steps=steps)
    claimed = epsilon_of([event], delta=delta)
    one_step = pld.from_gaussian_mechanism(noise, sampling_prob=probability, value_discretization_interval=1e-3)
    promised = one_step.self_compose(steps)
    mu = mu_of_epsilon(claimed, delta=delta)

    def is_covered_by(sharper: float) -> bool:
        gaussian = pld.from_gaussian_mechanism(1 / sharper, value_discretization_interval=1e-3)
        return all(
            promised.get_delta_for_epsilon(epsilon) <= gaussian.get_delta_for_epsilon(epsilon) * (1 + 1e-6)
            for epsilon in np.linspace(0, claimed, 25)
        )

    assert is_covered_by(mu)
    assert not is_covered_by(mu / 2), "a curve that promises too much must be noticed"


@pytest.mark.slow
def test_acceptance_of_the_one_run_audit() -> None:
    # 5,000 canaries, epsilon 8 and delta 1e-5, all patients drawn in each of eight steps.
    bounds = [audit_one_run(subject(seed=seed)).lower_bound_epsilon for seed in range(100, 140)]
    assert max(bounds) <= 8
    assert min(bounds) >= 3
