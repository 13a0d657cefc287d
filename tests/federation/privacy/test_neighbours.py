"""What neighbouring sites have in common: model, noise scale, divisor, sampler; and what one patient may never touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from federation.errors import CohortiumError, ManifestError, ModelRefusedError
from federation.models.build import build_model
from federation.models.spec import CnnSpec, LinearSpec, MlpSpec, ModelSpec
from federation.privacy.clipping import clipped_sum
from federation.privacy.discrete import noisy_counts
from federation.privacy.events import DiscreteGaussian, DiscreteLaplace
from federation.privacy.independence import check_independence
from federation.privacy.randomness import RandomStreams
from site_client import training
from site_client.dp_step import PatientGradients
from site_client.patients import PatientDataset
from tests.replay.cases import MODELS, STEPS, TASKS, Training
from tests.replay.neighbours import FEATURES, NAMES, ODD, neighbours
from tests.replay.tape import recorded
from tests.site_client.training_cases import dataset, joined, mechanism, schedule, train
from tests.small_study import manifest, manifest_data, private

STREAMS = RandomStreams(bytes(range(32)))


def _replaced(data: PatientDataset, patient: int, features: float, outcome: float) -> PatientDataset:
    """The same data set with other contents in one patient's records."""
    rows = data.patient_index == patient
    changed, outcomes = data.features.copy(), data.outcomes.copy()
    changed[rows], outcomes[rows] = features, outcome
    return PatientDataset(changed, outcomes, data.patient_index, NAMES)


@pytest.mark.parametrize("value", [0.0, -7.5, 1e30, np.nan, np.inf], ids=str)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", MODELS)
def test_changing_a_patient_leaves_every_other_gradient_bit_equal(name: str, task: str, value: float) -> None:
    # On the site's own model and through Opacus: the very gradients that are clipped and summed.
    data = neighbours("ordinary", task=task, seed=5).larger
    patient = 3
    changed = _replaced(data, patient, value, 1.0)
    gradients: list[np.ndarray] = []
    for part in (data, changed):
        with PatientGradients(Training(model=name, task=task).start().train(), part, task=task) as patients:
            rows = np.array_split(np.arange(part.num_records), range(16, part.num_records, 16))
            rows = rows if patients._physical_records >= 16 else np.arange(part.num_records)[:, None]
            gradients.append(np.concatenate([patients._record_gradients(some).numpy() for some in rows]))
    others = data.patient_index != patient
    np.testing.assert_array_equal(gradients[0][others], gradients[1][others])
    assert not np.array_equal(gradients[0][~others], gradients[1][~others]), "the patient itself must have changed"
    assert np.isfinite(gradients[1][others]).all()


@pytest.mark.parametrize("odd", ODD)
def test_a_patients_part_of_the_sum_is_its_own(odd: str) -> None:
    pair = neighbours(odd, task="binary", seed=6)
    everybody = np.arange(pair.larger.num_patients)
    with PatientGradients(Training(model="mlp").start().train(), pair.larger, task="binary") as patients:
        alone = [patients.clipped_sum(everybody[[n]], clipping_norm=0.3) for n in everybody]
        together = patients.clipped_sum(everybody, clipping_norm=0.3)
    np.testing.assert_allclose(together, np.sum(alone, axis=0), rtol=0, atol=64, err_msg="up to float32, in grid steps")
    assert max(np.linalg.norm(part) for part in alone) <= 2**24
    if "nan" in odd or odd == "infinite":
        assert not alone[pair.odd].any()


def _tensors(model: nn.Module) -> dict[str, bytes]:
    return {name: buffer.numpy().tobytes() for name, buffer in model.named_buffers()}


class _Shifted(nn.Module):
    """A model with a constant buffer, which is allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 1)
        self.register_buffer("shift", torch.linspace(-1, 1, FEATURES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x - self.shift)


@pytest.mark.parametrize("name", [*MODELS, "constant buffer"])
def test_buffers_are_bit_equal_before_and_after_a_private_round(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[nn.Module] = []
    original = training._private_gradients

    def watched(model: nn.Module, *arguments: object, **rest: object) -> object:
        used.append(model)
        before.update(_tensors(model))
        return original(model, *arguments, **rest)

    before: dict[str, bytes] = {}
    monkeypatch.setattr(training, "_private_gradients", watched)
    case = Training(network=_Shifted) if name == "constant buffer" else Training(model=name)
    case(neighbours("large", task="binary", seed=7).larger)
    assert len(used) == 1
    assert _tensors(used[0]) == before
    assert bool(before) == (name == "constant buffer")


def test_a_memory_in_a_plain_attribute_is_refused_though_it_is_not_used() -> None:
    class Note(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(FEATURES, 1)
            self.largest = torch.zeros(())  # not registered: no list of buffers names it

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.largest = torch.maximum(self.largest, x.detach().max())
            return self.linear(x)

    with pytest.raises(ModelRefusedError, match="memory"):
        check_independence(Note(), (FEATURES,))


class _Sleeper(nn.Module):
    """Remembers records, but not before many come at once: it sleeps through any trial with a few."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 1)
        self.register_buffer("seen", torch.zeros(FEATURES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 8:
            self.seen.copy_(x.detach().mean(0))
        return self.linear(x)


def test_a_buffer_that_changes_in_a_step_on_patients_stops_the_round() -> None:
    check_independence(_Sleeper(), (FEATURES,))
    with pytest.raises(ModelRefusedError):
        Training(network=_Sleeper)(neighbours("many records", task="binary", seed=8).larger)


@pytest.mark.parametrize(("patients", "probability"), [(8, 0.25), (16, 0.0625), (20, 0.15), (50, 0.02)])
def test_neighbours_of_another_rounding_get_the_same_noise_and_divisor(patients: int, probability: float) -> None:
    # int(N q) and int((N - 1) q) differ; in Opacus this changes batch size, steps and divisor.
    assert int(patients * probability) != int((patients - 1) * probability)
    chosen = mechanism(numerator=int(probability * 2**53), divisor=4.0)
    everybody = dataset(patients)
    tapes = [
        recorded(lambda data=data: train(data, mechanism=chosen))[1]
        for data in (everybody, everybody.patients(np.arange(patients - 1)))
    ]
    noises = []
    for tape in tapes:
        assert [release.mechanism for release in tape.releases] == [chosen] * chosen.steps_per_round
        assert {draw.numerator for draw in tape.draws} == {chosen.sampling_numerator}
        noises.append([release.released * chosen.divisor * 2**24 - release.value for release in tape.releases])
    np.testing.assert_allclose(noises[0], noises[1], rtol=0, atol=1e-2, err_msg="in grid steps of 2**-24")


def test_draws_and_noise_come_from_different_streams() -> None:
    # With nobody there the sampler takes nothing from its stream; with many it takes much: the noise must not notice.
    chosen = mechanism(numerator=1)
    noises = [
        [release.released for release in recorded(lambda data=data: train(data, mechanism=chosen))[1].releases]
        for data in (dataset(1).patients(np.zeros(0, dtype=np.int64)), dataset(300))
    ]
    np.testing.assert_array_equal(noises[0], noises[1])


def test_an_unusable_patient_costs_the_others_nothing_and_the_round_the_same() -> None:
    good, bad = dataset(12, records=2), dataset(1, records=3, seed=4)
    bad.features[0, 0] = np.nan
    chosen = mechanism(numerator=2**53)
    results = [train(data, mechanism=chosen) for data in (good, joined(good, bad))]
    assert results[0].event == results[1].event
    assert results[0].num_steps == results[1].num_steps == STEPS
    np.testing.assert_allclose(results[0].parameters, results[1].parameters, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "spec",
    [
        MlpSpec(kind="mlp", hidden=(3,), normalisation="batch"),
        CnnSpec(kind="cnn", image_shape=(1, 3, 3), channels=(2,), normalisation="batch"),
    ],
    ids=["mlp", "cnn"],
)
def test_batch_normalisation_is_refused_by_builder_training_and_manifest(spec: ModelSpec) -> None:
    sizes = {"task": "binary", "num_features": FEATURES, "num_outputs": 1}
    with pytest.raises(ModelRefusedError, match="batch"):
        build_model(spec, **sizes, private=True)
    mixing = build_model(spec, **sizes, private=False)
    with pytest.raises(ModelRefusedError):
        Training(network=lambda: mixing)(neighbours("ordinary", task="binary", seed=9).larger)
    with pytest.raises(ManifestError, match="normalisation"):
        manifest(privacy=private(), model=spec.as_data())
    assert manifest(privacy={"kind": "none"}, model=spec.as_data()).model == spec


def test_training_checks_the_very_model_it_trains() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x - x.mean(0))

    with pytest.raises(ModelRefusedError):
        train(dataset(5), start=Mixing(), schedule=schedule())


def test_the_divisor_is_the_declared_expectation_whatever_the_site_has() -> None:
    study = manifest(privacy=private(probability=0.25), model={"kind": "linear"})
    chosen = study.mechanism("north")
    assert chosen.divisor == 0.25 * 40
    assert chosen.steps == study.schedule.rounds * study.schedule.local_steps
    assert LinearSpec(kind="linear") == study.model


@pytest.mark.parametrize(
    "change",
    [
        {"privacy": private() | {"noise_multiplier": private()["noise_multiplier"] * 0.98}},
        {"privacy": private() | {"epsilon": 3.9}},
        {"privacy": private() | {"delta": 5e-4}},
        {"privacy": private(), "schedule": manifest_data()["schedule"] | {"rounds": 5}},
        {"privacy": private(), "preprocessing": "site_standardised"},
        {"privacy": private(), "evaluation": {"release": "per_site"}},
        {"privacy": private(), "evaluation": {"noise": {"variance": 4000}}},
    ],
    ids=[
        "less noise",
        "smaller epsilon",
        "smaller delta",
        "more rounds",
        "means of the site",
        "exact evaluation",
        "evaluation beyond the promise",
    ],
)
def test_a_manifest_that_promises_more_than_it_keeps_is_refused(change: dict[str, object]) -> None:
    assert manifest(privacy=private()).privacy.epsilon == 4.0
    with pytest.raises(CohortiumError):
        manifest(**change)


@pytest.mark.parametrize(
    ("chosen", "deviation"),
    [
        (DiscreteGaussian(sensitivity_squared=2, variance=400), 20.0),
        (DiscreteLaplace(sensitivity=2, scale=30), 30 * np.sqrt(2)),
    ],
    ids=["gaussian", "laplace"],
)
def test_every_count_gets_noise_of_its_own_and_of_the_declared_size(
    chosen: DiscreteGaussian | DiscreteLaplace, deviation: float
) -> None:
    counts = np.arange(20_000, dtype=np.int64)
    noise = noisy_counts(counts, mechanism=chosen, generator=STREAMS.stream("counts")) - counts
    assert abs(noise.std() / deviation - 1) < 0.03, "half the variance or scale would be 0.7 or 0.5"
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.03
    neighbour = counts.copy()
    neighbour[7] += 1
    again = noisy_counts(neighbour, mechanism=chosen, generator=STREAMS.stream("counts")) - neighbour
    np.testing.assert_array_equal(noise, again)


def test_the_sum_of_nobody_is_zero_and_of_one_is_bounded() -> None:
    assert not clipped_sum(np.zeros((0, 4)), clipping_norm=2.0).any()
    assert np.linalg.norm(clipped_sum(np.full((1, 4), 1e200), clipping_norm=2.0)) <= 2**24
