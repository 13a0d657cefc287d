"""Small data sets, models and mechanisms shared by the tests of training."""

from __future__ import annotations

import numpy as np
from torch import nn

from federation.models.build import build_model
from federation.models.spec import LinearSpec, ModelSpec
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.study.schedule import OptimiserSpec, Schedule
from site_client.patients import PatientDataset
from site_client.training import LocalTraining, train_locally

FEATURES = 5


def dataset(patients: int, *, records: int = 1, seed: int = 0) -> PatientDataset:
    """``patients`` patients of ``records`` records; the first patients are the same whatever their number."""
    generator = np.random.default_rng(seed)
    index = np.repeat(np.arange(patients, dtype=np.int64), records)
    features = generator.normal(size=(len(index), FEATURES)).astype(np.float32)
    outcomes = (features[:, 0] + generator.normal(size=len(index)) / 2 > 0).astype(np.float32)
    return PatientDataset(features, outcomes, index, tuple(f"x{i}" for i in range(FEATURES)))


def joined(first: PatientDataset, second: PatientDataset) -> PatientDataset:
    """The patients of both."""
    return PatientDataset(
        np.concatenate([first.features, second.features]),
        np.concatenate([first.outcomes, second.outcomes]),
        np.concatenate([first.patient_index, second.patient_index + first.num_patients]),
        first.feature_names,
    )


def model(spec: ModelSpec | None = None, *, private: bool = True) -> nn.Module:
    """A logistic model unless told otherwise."""
    return build_model(
        spec or LinearSpec(kind="linear"), task="binary", num_features=FEATURES, num_outputs=1, private=private
    )


def mechanism(
    *, steps: int = 3, rounds: int = 4, noise: float = 1.0, numerator: int = 2**52, divisor: float = 8.0
) -> MechanismSpec:
    """Clipping norm 1."""
    return MechanismSpec(
        clipping_norm=1.0,
        noise_multiplier=noise,
        sampling_numerator=numerator,
        steps_per_round=steps,
        rounds=rounds,
        divisor=divisor,
    )


def schedule(
    *, steps: int = 3, batch_size: int = 8, rate: float = 0.5, decay: float = 1.0, **optimiser: object
) -> Schedule:
    """Four rounds."""
    return Schedule(
        rounds=4,
        local_steps=steps,
        batch_size=batch_size,
        learning_rate_decay=decay,
        optimiser=OptimiserSpec.from_data({"learning_rate": rate} | optimiser),
    )


def streams(seed: int = 1) -> RandomStreams:
    """Reproducible streams."""
    return seeded_streams(seed, provenance="synthetic")


def train(data: PatientDataset, **changes: object) -> LocalTraining:
    """One round, private unless ``mechanism=None``."""
    arguments: dict[str, object] = {
        "task": "binary",
        "schedule": schedule(),
        "round_number": 1,
        "mechanism": mechanism(),
        "streams": streams(),
    }
    start = changes.pop("start", None)
    return train_locally(start if start is not None else model(), data, **(arguments | changes))
