"""The private step equals the slow, obvious one."""

from __future__ import annotations

import numpy as np
import pytest

from federation.models.build import build_model
from federation.models.parameters import flatten
from federation.models.spec import Cnn1dSpec, CnnSpec, GruSpec, LinearSpec, MlpSpec, ModelSpec
from federation.models.stacked.network import stacked_network
from federation.models.task_terms import Objective
from federation.privacy.clipping import grid_step
from federation.privacy.keystream import KeyStream
from federation.privacy.noise import grid_noise
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.privacy.sampling import poisson_sample
from federation.privacy.summation import working_norm
from federation.study.schedule import OptimiserSpec, Schedule
from site_client.dp_step import PatientGradients
from site_client.patients import PatientDataset
from site_client.training import train_locally
from tests.objectives import HAZARDS, QUANTILES
from tests.oracles.slow_dp_sgd import patient_contribution, slow_dp_sgd

FEATURES = 36
SPECS: dict[str, ModelSpec] = {
    "linear": LinearSpec(kind="linear"),
    "mlp": MlpSpec(kind="mlp", hidden=(7, 5), activation="tanh", normalisation="layer"),
    "gelu": MlpSpec(kind="mlp", hidden=(7, 5), activation="gelu"),
    "cnn": CnnSpec(kind="cnn", image_shape=(1, 6, 6), channels=(4,), hidden=5, normalisation="group"),
    "cnn over time": Cnn1dSpec(
        kind="cnn1d", signal_shape=(2, 18), channels=(4,), kernel=5, hidden=5, normalisation="group"
    ),
    "gru": GruSpec(kind="gru", signal_shape=(2, 18), hidden=4, step_samples=3),
}
STEPS = 4
TASKS: dict[str, tuple[Objective, int]] = {
    "binary": ("binary", 1),
    "multiclass": ("multiclass", 3),
    "regression": ("regression", 1),
    "count": ("count", 1),
    "quantile": (QUANTILES, 3),
    "proportional hazards": (HAZARDS["proportional cloglog"], 3),
    "hazards by interval": (HAZARDS["by_interval logistic"], 3),
}


def _dataset(task: str, seed: int = 0, patients: int = 12) -> PatientDataset:
    generator = np.random.default_rng(seed)
    index = np.repeat(np.arange(patients), generator.integers(1, 6, patients))
    outcomes = {
        "binary": generator.integers(0, 2, len(index)),
        "multiclass": generator.integers(0, 3, len(index)),
        "regression": generator.normal(size=len(index)),
        "count": generator.poisson(2, len(index)),
        "quantile": generator.normal(size=len(index)),
    }.get(task, generator.choice([-1.0, 1.0], len(index)) * (1 + generator.uniform(0, 5, len(index))))
    features = generator.normal(size=(len(index), FEATURES)) * 10 ** generator.uniform(-2, 1, size=(len(index), 1))
    if task == "count" or "hazards" in task:
        features *= 0.05  # an exponential of a large output would turn float32's rounding of it into more
    return PatientDataset(
        features.astype(np.float32), outcomes.astype(np.float32), index, tuple(f"x{i}" for i in range(FEATURES))
    )


def _mechanism(noise_multiplier: float) -> MechanismSpec:
    return MechanismSpec(
        clipping_norm=0.8,
        noise_multiplier=noise_multiplier,
        sampling_numerator=2**52,
        steps_per_round=STEPS,
        rounds=2,
        divisor=6.0,
    )


def _draws_and_noises(
    streams: RandomStreams, dataset: PatientDataset, mechanism: MechanismSpec, size: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    sampling, noise = KeyStream.of(streams.stream("sampling")), KeyStream.of(streams.stream("noise"))
    draws = [
        poisson_sample(dataset.num_patients, numerator=mechanism.sampling_numerator, generator=sampling)
        for _ in range(STEPS)
    ]
    step = grid_step(mechanism.clipping_norm)
    return draws, [grid_noise(size, mechanism=mechanism, generator=noise) * step for _ in range(STEPS)]


@pytest.mark.parametrize("noise_multiplier", [1e-9, 1.3], ids=["hardly any noise", "noise"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SPECS)
def test_training_equals_the_oracle(name: str, task: str, noise_multiplier: float) -> None:
    dataset, mechanism = _dataset(task), _mechanism(noise_multiplier)
    objective, outputs = TASKS[task]
    model = build_model(SPECS[name], task=objective, num_features=FEATURES, num_outputs=outputs, private=True)
    streams = seeded_streams(3, provenance="synthetic")
    schedule = Schedule(rounds=2, local_steps=STEPS, optimiser=OptimiserSpec(learning_rate=0.1))
    result = train_locally(
        model, dataset, task=objective, schedule=schedule, round_number=2, mechanism=mechanism, streams=streams
    ).parameters
    start = flatten(model).astype(np.float64)
    draws, noises = _draws_and_noises(streams.child("private", 2), dataset, mechanism, len(start))
    # The noise is that of the promised clipping norm; kernels clip a little shorter, which leaves room for rounding.
    is_covered = stacked_network(model) is not None
    norm = working_norm(mechanism.clipping_norm, num_parameters=len(start)) if is_covered else mechanism.clipping_norm
    shorter = mechanism.model_copy(update={"clipping_norm": norm})
    expected = slow_dp_sgd(
        model, dataset, task=objective, mechanism=shorter, learning_rate=0.1, draws=draws, noises=noises
    )
    assert sum(len(drawn) for drawn in draws) > STEPS, "the draws must hold patients, or nothing is compared"
    # Relative to the parameters, which are float32: half a unit in the last place is 6e-8.
    assert np.linalg.norm(result - expected) <= 1e-6 * np.linalg.norm(expected)
    assert np.linalg.norm(expected - start) > 1e-3 * np.linalg.norm(expected), "the steps must have moved the model"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SPECS)
def test_clipped_sum_equals_the_oracle(name: str, task: str) -> None:
    dataset, (objective, outputs) = _dataset(task, seed=1), TASKS[task]
    model = build_model(SPECS[name], task=objective, num_features=FEATURES, num_outputs=outputs, private=True)
    patients = np.array([0, 2, 3, 7, 11])
    double = build_model(SPECS[name], task=objective, num_features=FEATURES, num_outputs=outputs, private=True).double()
    expected = sum(patient_contribution(double, dataset, int(patient), objective, 0.8) for patient in patients)
    with PatientGradients(model.train(), dataset, task=objective) as gradients:
        total = gradients.clipped_sum(patients, clipping_norm=0.8) * grid_step(0.8)
    assert np.linalg.norm(total - expected) <= 1e-6 * np.linalg.norm(expected)


def test_the_oracle_would_notice_records_clipped_one_by_one() -> None:
    dataset = _dataset("binary", seed=1)
    model = build_model(SPECS["linear"], task="binary", num_features=FEATURES, num_outputs=1, private=True)
    each_record = PatientDataset(
        dataset.features, dataset.outcomes, np.arange(dataset.num_records), dataset.feature_names
    )
    with PatientGradients(model.train(), dataset, task="binary") as gradients:
        by_patient = gradients.clipped_sum(np.arange(12), clipping_norm=0.8)
    with PatientGradients(model.train(), each_record, task="binary") as gradients:
        by_record = gradients.clipped_sum(np.arange(dataset.num_records), clipping_norm=0.8)
    assert np.linalg.norm(by_patient - by_record) > 0.05 * np.linalg.norm(by_patient)
