"""Statements about distributions. Keys are fixed, so that every run gives the same verdict.

Each test also shows that it rejects the wrong answer: another noise scale, a fixed-size sample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from federation.privacy.accounting import epsilon_of
from federation.privacy.clipping import clipped_sum
from federation.privacy.events import SubsampledGaussian
from federation.privacy.noise import noisy_mean, standard_normal
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import RandomStreams
from federation.privacy.sampling import poisson_sample
from tests.site_client.training_cases import dataset, mechanism, model, schedule, train

pytestmark = pytest.mark.statistical

STREAMS = RandomStreams(bytes(range(32)))
SIGNIFICANCE = 1e-4


def _fits_normal(draws: np.ndarray, standard_deviation: float) -> bool:
    """Shape by Kolmogorov-Smirnov and scale by the chi-square distribution of the sum of squares, both ways."""
    scaled = draws / standard_deviation
    shape = stats.kstest(scaled, "norm").pvalue
    squares = float(np.sum(scaled**2))
    scale = 2 * min(stats.chi2.cdf(squares, draws.size), stats.chi2.sf(squares, draws.size))
    return min(shape, scale) > SIGNIFICANCE


@pytest.mark.parametrize(("noise", "norm", "divisor"), [(1.0, 1.0, 1.0), (0.4, 3.0, 17.5), (8.0, 0.01, 2.0)])
def test_noise_has_the_mechanisms_scale(noise: float, norm: float, divisor: float) -> None:
    chosen = MechanismSpec(
        clipping_norm=norm,
        noise_multiplier=noise,
        sampling_numerator=2**52,
        steps_per_round=1,
        rounds=1,
        divisor=divisor,
    )
    draws = noisy_mean(np.zeros(100_000), mechanism=chosen, generator=STREAMS.stream("scale"))
    right = chosen.noise_standard_deviation / divisor
    assert _fits_normal(draws, right)
    for wrong in (2 / 3, 3 / 2, 0.98, 1.02):
        assert not _fits_normal(draws, right * wrong), f"a scale of {wrong} must be noticed"


def test_noise_of_a_whole_training_step_has_the_mechanisms_scale() -> None:
    # Nobody is drawn, so what training adds to the parameters is learning rate x noise / divisor, over 400 rounds.
    chosen = mechanism(steps=1, rounds=400, noise=1.5, numerator=1, divisor=4.0)
    start = model()
    before = np.concatenate([parameter.detach().numpy().reshape(-1) for parameter in start.parameters()])
    moved = [
        train(
            dataset(3), start=start, mechanism=chosen, schedule=schedule(steps=1, rate=2.0), round_number=r
        ).parameters
        - before
        for r in range(1, 401)
    ]
    draws = np.concatenate(moved).astype(np.float64)
    right = 2.0 * 1.5 / 4.0
    assert _fits_normal(draws, right)
    assert not _fits_normal(draws, right * 2 / 3)
    assert not _fits_normal(draws, right * 3 / 2)


def test_draws_of_noise_are_uncorrelated() -> None:
    draws = standard_normal(200_000, generator=STREAMS.stream("correlation"))
    for lag in (1, 2, 50_000, 100_000):
        correlation = float(np.corrcoef(draws[:-lag], draws[lag:])[0, 1])
        assert abs(correlation) < 5 / np.sqrt(draws.size - lag)


def _is_poisson_sampling(draw: Callable[[], np.ndarray], patients: int, probability: float) -> bool:
    """Every patient at the right rate, and patients independent of each other: the number drawn is binomial."""
    steps = 4000
    counts, numbers = np.zeros(patients), np.zeros(steps)
    for step in range(steps):
        drawn = draw()
        counts[drawn] += 1
        numbers[step] = len(drawn)
    variance = probability * (1 - probability)
    rate = float(np.sum((counts - steps * probability) ** 2) / (steps * variance))
    spread = float(np.sum((numbers - patients * probability) ** 2) / (patients * variance))
    rate_p = 2 * min(stats.chi2.cdf(rate, patients), stats.chi2.sf(rate, patients))
    spread_p = 2 * min(stats.chi2.cdf(spread, steps), stats.chi2.sf(spread, steps))
    return min(rate_p, spread_p) > SIGNIFICANCE


@pytest.mark.parametrize("probability", [0.5, 0.125])
def test_sampling_is_poisson(probability: float) -> None:
    patients, numerator = 40, int(probability * 2**53)
    generator = STREAMS.stream("sampling", numerator)
    assert _is_poisson_sampling(
        lambda: poisson_sample(patients, numerator=numerator, generator=generator), patients, probability
    )
    assert not _is_poisson_sampling(
        lambda: generator.permutation(patients)[: int(patients * probability)], patients, probability
    ), "a batch of fixed size must be noticed"
    assert not _is_poisson_sampling(
        lambda: poisson_sample(patients, numerator=int(numerator * 0.95), generator=generator), patients, probability
    ), "another rate must be noticed"


@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_neighbours_are_told_apart_no_better_than_promised(noise: float) -> None:
    # One step over everybody; the patient that differs pushes as far as clipping allows, along one coordinate.
    chosen = MechanismSpec(
        clipping_norm=1.0, noise_multiplier=noise, sampling_numerator=2**53, steps_per_round=1, rounds=1, divisor=1.0
    )
    delta = 1e-3
    promised = epsilon_of([SubsampledGaussian(noise_multiplier=noise, sampling_numerator=2**53, steps=1)], delta=delta)
    others = clipped_sum(np.zeros((3, 1)), clipping_norm=1.0)
    extreme = clipped_sum(np.array([[0.0], [0.0], [1e9]]), clipping_norm=1.0)

    def lower_bound(scale: float) -> float:
        released = chosen.model_copy(update={"noise_multiplier": noise * scale})
        out, inside = (
            noisy_mean(np.repeat(total, 100_000), mechanism=released, generator=STREAMS.stream("audit", part))
            for part, total in (("out", others), ("in", extreme))
        )
        best = 0.0
        for threshold in np.linspace(-1, 1 + 3 * noise, 40):
            hits, alarms = int(np.sum(inside > threshold)), int(np.sum(out > threshold))
            true_rate = stats.beta.ppf(1e-5, hits, inside.size - hits + 1) if hits else 0.0
            false_rate = stats.beta.ppf(1 - 1e-5, alarms + 1, out.size - alarms) if alarms < out.size else 1.0
            if true_rate > delta:
                best = max(best, float(np.log((true_rate - delta) / false_rate)))
        return best

    assert 0.25 * promised < lower_bound(1.0) <= promised
    assert lower_bound(1 / 3) > promised, "a third of the noise must be noticed"
