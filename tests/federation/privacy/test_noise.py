"""The release: whole grid steps, noise that ignores the patients, public divisor."""

from __future__ import annotations

import numpy as np
import pytest

from federation.privacy.clipping import grid_step
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


def test_each_draw_is_the_sum_of_four_normals() -> None:
    generator = STREAMS.stream("four")
    parts = [generator.standard_normal(6) for _ in range(4)]
    np.testing.assert_allclose(standard_normal(6, generator=STREAMS.stream("four")), sum(parts) / 2, rtol=1e-15)


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
