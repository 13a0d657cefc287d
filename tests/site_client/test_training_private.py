"""Each measured trap of private training, as a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from federation.errors import InternalError, ModelRefusedError
from federation.models.parameters import flatten
from federation.models.spec import MlpSpec
from federation.models.stacked.network import StackedNetwork
from federation.privacy.events import SubsampledGaussian
from federation.privacy.noise import noisy_mean
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import fresh_streams
from federation.privacy.sampling import poisson_sample
from site_client import patient_gradients, training
from site_client.dp_step import PatientGradients
from site_client.patients import PatientDataset
from tests.site_client.training_cases import dataset, joined, mechanism, model, schedule, streams, train


class _Tape:
    """Records what sampler and release are given and give."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[np.ndarray] = []
        self.numerators: list[int] = []
        self.sums: list[np.ndarray] = []
        self.mechanisms: list[MechanismSpec] = []
        self.released: list[np.ndarray] = []
        monkeypatch.setattr(training, "poisson_sample", self._sample)
        monkeypatch.setattr(training, "noisy_mean", self._release)

    def _sample(self, num_patients: int, *, numerator: int, generator: np.random.Generator) -> np.ndarray:
        self.numerators.append(numerator)
        self.drawn.append(poisson_sample(num_patients, numerator=numerator, generator=generator))
        return self.drawn[-1]

    def _release(self, total: np.ndarray, *, mechanism: MechanismSpec, generator: np.random.Generator) -> np.ndarray:
        self.sums.append(total.copy())
        self.mechanisms.append(mechanism)
        self.released.append(noisy_mean(total, mechanism=mechanism, generator=generator))
        return self.released[-1]


@pytest.mark.parametrize(("patients", "numerator"), [(64, 2**50), (9, 2**51), (2, 2**52), (1, 2**53)])
def test_neighbours_get_the_same_steps_noise_and_divisor(
    patients: int, numerator: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 64 and 63 records at batch 8: Opacus divides by int(N q) and its noise scale tells them apart at z = 65.
    chosen = mechanism(numerator=numerator)
    tapes = []
    for number in (patients, patients - 1):
        with monkeypatch.context() as patch:
            tape = _Tape(patch)
            result = train(dataset(patients).patients(np.arange(number)), mechanism=chosen)
            tapes.append((tape, result))
    (tape, result), (neighbour_tape, neighbour_result) = tapes
    assert len(tape.sums) == len(neighbour_tape.sums) == result.num_steps == neighbour_result.num_steps == 3
    assert result.event == neighbour_result.event
    assert tape.mechanisms == neighbour_tape.mechanisms == [chosen] * 3
    assert tape.numerators == neighbour_tape.numerators == [numerator] * 3
    noises = [
        [released * chosen.divisor * 2**24 - total for released, total in zip(t.released, t.sums, strict=True)]
        for t in (tape, neighbour_tape)
    ]
    np.testing.assert_allclose(noises[0], noises[1], atol=1e-3, err_msg="the noise must ignore the patients")


def test_one_patient_moves_one_step_by_at_most_the_clipping_norm() -> None:
    everybody = mechanism(steps=1, noise=0.1, numerator=2**53)
    heavy = dataset(1, records=1000, seed=9)
    heavy = PatientDataset(heavy.features * 1e3, heavy.outcomes, heavy.patient_index, heavy.feature_names)
    few = dataset(10)
    arguments = {"mechanism": everybody, "schedule": schedule(steps=1, rate=1.0)}
    with_heavy, without = (train(data, **arguments).parameters for data in (joined(few, heavy), few))
    moved = np.linalg.norm(with_heavy.astype(float) - without.astype(float))
    assert moved <= 1.0 / everybody.divisor * (1 + 1e-5)
    assert moved > 0.9 / everybody.divisor, "a thousand large records do reach the bound"


def test_an_empty_draw_gives_pure_noise_and_is_still_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = _Tape(monkeypatch)
    result = train(dataset(20), mechanism=mechanism(numerator=1))
    assert [len(drawn) for drawn in tape.drawn] == [0, 0, 0]
    assert all(not total.any() for total in tape.sums)
    assert all(np.all(released != 0) for released in tape.released)
    assert result.event == SubsampledGaussian(noise_multiplier=1.0, sampling_numerator=1, steps=3)
    assert not np.array_equal(result.parameters, flatten(model()))


def test_a_site_without_patients_looks_like_its_neighbour() -> None:
    empty, one = (train(dataset(1).patients(np.arange(number)), mechanism=mechanism(numerator=1)) for number in (0, 1))
    np.testing.assert_array_equal(empty.parameters, one.parameters)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["features", "outcomes"])
def test_an_unusable_patient_is_left_out_and_nobody_else(
    bad: float, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In Opacus one NaN record makes every weight NaN.
    everybody = mechanism(numerator=2**53)
    good, spoilt = dataset(6, records=2), dataset(1, records=3, seed=5)
    getattr(spoilt, where)[1] = bad
    sums = []
    for data in (joined(good, spoilt), good):
        with monkeypatch.context() as patch:
            tape = _Tape(patch)
            result = train(data, mechanism=everybody)
            sums.append(tape.sums)
            assert np.isfinite(result.parameters).all()
    np.testing.assert_allclose(sums[0], sums[1], rtol=0, atol=64, err_msg="within float32 rounding, in units of 2**-24")


def test_sampler_and_account_use_the_same_numerator(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = _Tape(monkeypatch)
    chosen = mechanism(numerator=1_234_567_890_123_457)
    result = train(dataset(30), mechanism=chosen)
    assert set(tape.numerators) == {1_234_567_890_123_457}
    assert result.event is not None
    assert result.event.sampling_numerator == 1_234_567_890_123_457
    assert result.event.noise_multiplier == chosen.noise_multiplier
    assert result.event.steps == len(tape.sums) == chosen.steps_per_round


def test_global_seeds_do_not_determine_the_noise() -> None:
    # torch.manual_seed makes Opacus' noise predictable.
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        results.append(train(dataset(20), streams=fresh_streams()).parameters)
    assert not np.any(results[0] == results[1])


def test_global_seeds_do_not_change_a_seeded_run() -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        results.append(train(dataset(20)).parameters)
    np.testing.assert_array_equal(*results)


def test_rounds_draw_different_patients_and_different_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = _Tape(monkeypatch)
    for round_number in (1, 2):
        train(dataset(200), round_number=round_number)
    assert len({tuple(drawn) for drawn in tape.drawn}) == 6
    noises = np.array([r * 8.0 * 2**24 - t for r, t in zip(tape.released, tape.sums, strict=True)])
    assert len(np.unique(noises.round())) == noises.size


@pytest.mark.parametrize("covered", [True, False], ids=["kernels", "Opacus"])
@pytest.mark.parametrize("limit", [32, 64])
def test_the_length_of_a_pass_changes_memory_not_the_sum(
    limit: int, covered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = joined(dataset(20, records=3), dataset(1, records=40, seed=3))
    original = StackedNetwork.loss_gradients
    runs = []
    for records in (limit, 128):
        with monkeypatch.context() as patch:
            tape = _Tape(patch)
            sizes: list[int] = []
            start = model()
            start.register_forward_hook(lambda _m, inputs, _o, sizes=sizes: sizes.append(len(inputs[0])))

            def seen(self, theta, features, *rest, sizes=sizes, **named) -> None:
                sizes.append(features.shape[1])
                original(self, theta, features, *rest, **named)

            patch.setattr(StackedNetwork, "loss_gradients", seen)
            if not covered:
                for module in (patient_gradients, training):
                    patch.setattr(module, "stacked_network", lambda _: None)
            train(data, start=start, mechanism=mechanism(numerator=2**53), pass_records=records)
            runs.append((tape, sizes))
    (small, small_sizes), (large, _) = runs
    trained = [size for size in small_sizes if size > 4]  # up to 4 records try the model's independence beforehand
    assert set(trained) == {limit}, "every pass has the same shape, whatever was drawn"
    assert [len(drawn) for drawn in small.drawn] == [len(drawn) for drawn in large.drawn], "no draw is cut short"
    np.testing.assert_allclose(small.sums, large.sums, rtol=0, atol=64)


def test_memory_for_gradients_is_bounded_whatever_the_size_of_the_model() -> None:
    wide = model(MlpSpec(kind="mlp", hidden=(4096, 16)))
    narrow = model()
    with PatientGradients(narrow, dataset(3), task="binary") as gradients:
        assert gradients._physical_records == 32
    with PatientGradients(narrow, dataset(3), task="binary", pass_records=10**6) as gradients:
        assert gradients._physical_records == 4096
    with PatientGradients(wide, dataset(3), task="binary") as gradients:
        values = sum(parameter.numel() for parameter in wide.parameters())
        assert 1 <= gradients._physical_records <= 64 * 2**20 / (16 * values)


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm1d(5), nn.BatchNorm1d(5, affine=False), nn.BatchNorm1d(5, affine=False, track_running_stats=False)],
)
def test_models_that_mix_patients_are_refused_before_anything_is_drawn(
    layer: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = _Tape(monkeypatch)
    with pytest.raises(ModelRefusedError):
        train(dataset(20), start=nn.Sequential(layer, nn.Linear(5, 1)))
    assert tape.drawn == []


def test_steps_that_are_not_the_accounted_ones_are_refused() -> None:
    with pytest.raises(InternalError, match="3 accounted steps"):
        train(dataset(20), schedule=schedule(steps=4))


def test_the_model_given_is_not_changed_and_carries_no_hooks() -> None:
    start = model(MlpSpec(kind="mlp", hidden=(3,)))
    before = flatten(start)
    train(dataset(20), start=start)
    np.testing.assert_array_equal(flatten(start), before)
    assert all(not hasattr(parameter, "grad_sample") for parameter in start.parameters())
    assert all(not layer._forward_hooks for layer in start.modules())


def test_much_data_and_little_noise_learns() -> None:
    data = dataset(400)
    result = train(
        data,
        mechanism=mechanism(steps=40, noise=0.5, divisor=200.0),
        schedule=schedule(steps=40, rate=2.0),
    )
    correct = (data.features @ result.parameters[:5] + result.parameters[5] > 0) == (data.outcomes > 0.5)
    assert correct.mean() > 0.8


def test_correction_comes_after_the_noise() -> None:
    seen: list[torch.Tensor] = []

    def correction(gradient: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        seen.append(gradient.clone())
        return gradient * 0

    result = train(dataset(20), correction=correction)
    np.testing.assert_array_equal(result.parameters, flatten(model()))
    assert len(seen) == 3
    assert all(gradient.any() for gradient in seen)


def test_streams_of_another_seed_give_another_model() -> None:
    assert not np.any(train(dataset(20)).parameters == train(dataset(20), streams=streams(2)).parameters)
