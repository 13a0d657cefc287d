"""The release: whole grid steps, noise that ignores the patients, public divisor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from federation.errors import InternalError
from federation.privacy.clipping import grid_step
from federation.privacy.keystream import KeyStream
from federation.privacy.noise import LONGEST_BLOCK, StepNoise, grid_noise, noisy_mean, standard_normal, write_normals
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


def _stream() -> KeyStream:
    return KeyStream.from_generator(STREAMS.stream("steps"))


@pytest.mark.parametrize("size", [1, 2, 2049, LONGEST_BLOCK // 3, LONGEST_BLOCK])
@pytest.mark.parametrize("expected_steps", [1, 4, 6])
def test_noise_made_ahead_is_what_each_step_would_have_made(size: int, expected_steps: int) -> None:
    ahead, stream = StepNoise(_stream(), size=size, num_steps=expected_steps), _stream()
    total = np.arange(size, dtype=np.float64)
    for _ in range(6):  # also more steps than were announced
        found = noisy_mean(total, mechanism=MECHANISM, generator=ahead)
        np.testing.assert_array_equal(found, noisy_mean(total, mechanism=MECHANISM, generator=stream))


def test_noise_made_ahead_follows_the_mechanism_of_its_step() -> None:
    ahead, stream = StepNoise(_stream(), size=5, num_steps=2), _stream()
    for multiplier in (1.5, 0.25):
        mechanism = MECHANISM.model_copy(update={"noise_multiplier": multiplier})
        found = noisy_mean(np.zeros(5), mechanism=mechanism, generator=ahead)
        np.testing.assert_array_equal(found, noisy_mean(np.zeros(5), mechanism=mechanism, generator=stream))


def test_a_release_of_many_coordinates_is_the_same_rounded_to_float32() -> None:
    size = 2 * LONGEST_BLOCK + 7
    ahead, stream = StepNoise(_stream(), size=size, num_steps=2), _stream()
    total = np.arange(size, dtype=np.float64)
    for _ in range(2):
        found = noisy_mean(total, mechanism=MECHANISM, generator=ahead)
        assert found.dtype == np.float32
        expected = noisy_mean(total, mechanism=MECHANISM, generator=stream)
        np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_noise_for_another_model_is_refused() -> None:
    with pytest.raises(InternalError, match="expected noise for 5 coordinates, got 6"):
        noisy_mean(np.zeros(6), mechanism=MECHANISM, generator=StepNoise(_stream(), size=5, num_steps=1))


def test_the_largest_and_smallest_words_give_finite_normals() -> None:
    # 1 is the least uniform and gives the largest radius; the greatest gives the radius zero, not the root of less.
    uniforms = torch.tensor([1.0, 2.0 - 2.0**-52, 1.0, 1.0], dtype=torch.float64)
    normals = torch.empty(4, dtype=torch.float64)
    write_normals(uniforms, out=normals, spare=torch.empty(2, dtype=torch.float64))
    assert normals[0].item() == pytest.approx(np.sqrt(2 * 52 * np.log(2)))
    assert normals[1:].abs().max().item() < 1e-14


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
