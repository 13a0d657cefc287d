"""The release: whole grid steps, noise that ignores the patients, public divisor."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from federation.privacy.clipping import grid_step
from federation.privacy.keystream import KeyStream
from federation.privacy.noise import grid_noise, noisy_mean, standard_normal
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import RandomStreams, fresh_streams

MECHANISM = MechanismSpec(
    clipping_norm=0.5, noise_multiplier=1.5, sampling_numerator=2**51, steps_per_round=4, rounds=2, divisor=16.0
)
STREAMS = RandomStreams(bytes(32))


def test_an_empty_draw_releases_pure_noise() -> None:
    released = noisy_mean(np.zeros(5), mechanism=MECHANISM, generator=STREAMS.stream("noise"))
    noise = grid_noise(5, mechanism=MECHANISM, generator=STREAMS.stream("noise"))
    np.testing.assert_array_equal(released, noise * grid_step(0.5) / 16.0)
    assert np.all(released != 0)


def test_noise_is_added_to_the_sum_and_divided_by_the_public_divisor() -> None:
    total = np.array([2.0**24, -(2.0**24), 7.0])
    with_patients = noisy_mean(total, mechanism=MECHANISM, generator=STREAMS.stream("noise"))
    without = noisy_mean(np.zeros(3), mechanism=MECHANISM, generator=STREAMS.stream("noise"))
    np.testing.assert_allclose(with_patients - without, total * grid_step(0.5) / 16.0, rtol=1e-9)


def test_every_released_coordinate_is_a_whole_number_of_grid_steps() -> None:
    released = noisy_mean(np.arange(1000.0), mechanism=MECHANISM, generator=STREAMS.stream("grid"))
    steps = released * MECHANISM.divisor / grid_step(MECHANISM.clipping_norm)
    np.testing.assert_allclose(steps, np.rint(steps), rtol=0, atol=1e-6)
    noise = grid_noise(1000, mechanism=MECHANISM, generator=STREAMS.stream("grid"))
    np.testing.assert_array_equal(noise, np.rint(noise))


@pytest.mark.parametrize("size", [1, 2, 7, 2 * 2**14, 2 * 2**14 + 5])
def test_every_draw_is_box_mullers_of_the_key_stream(size: int) -> None:
    normals = standard_normal(size, generator=STREAMS.stream("draws"))
    stream, expected = KeyStream.from_generator(STREAMS.stream("draws")), np.empty(0)
    while len(expected) < size:
        pairs = min(2**14, (size - len(expected) + 1) // 2)
        uniform = (stream.words(2 * pairs) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        radius = np.sqrt(-2 * np.log(uniform[:pairs] + 2.0**-53))
        angle = 2 * np.pi * uniform[pairs:]
        expected = np.concatenate([expected, radius * np.cos(angle), radius * np.sin(angle)])
    np.testing.assert_allclose(normals, expected[:size], rtol=1e-9, atol=1e-12)


def test_no_normals_are_no_normals() -> None:
    assert standard_normal(0, generator=STREAMS.stream("draws")).shape == (0,)


def test_normals_have_their_distribution_and_no_other() -> None:
    normals = standard_normal(100_001, generator=STREAMS.stream("distribution"))
    assert stats.kstest(normals, "norm").pvalue > 1e-4
    assert stats.kstest(normals * 1.02, "norm").pvalue < 1e-3
    assert abs(stats.kurtosis(normals)) < 0.05
    for lag in (1, 2**14, 50_000):
        assert abs(np.corrcoef(normals[:-lag], normals[lag:])[0, 1]) < 0.015


def test_noise_is_never_the_same_twice() -> None:
    first, second = (grid_noise(4, mechanism=MECHANISM, generator=fresh_streams().stream("n")) for _ in range(2))
    assert not np.any(first == second)
    generator = STREAMS.stream("steps")
    assert not np.any(
        grid_noise(4, mechanism=MECHANISM, generator=generator)
        == grid_noise(4, mechanism=MECHANISM, generator=generator)
    )


@pytest.mark.parametrize("factor", [0.1, 1.0, 1000.0])
def test_the_noise_follows_the_mechanism_only(factor: float) -> None:
    mechanism = MECHANISM.model_copy(update={"clipping_norm": factor})
    released = noisy_mean(np.zeros(3), mechanism=mechanism, generator=STREAMS.stream("n"))
    reference = noisy_mean(np.zeros(3), mechanism=MECHANISM, generator=STREAMS.stream("n"))
    np.testing.assert_allclose(released, reference * factor / 0.5, rtol=1e-12)
