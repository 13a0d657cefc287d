"""Small private trainings of every kind, as functions of the data set alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import nn

from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import LocalRound
from federation.algorithms.spec import FedAvgSpec, FedProxSpec, ScaffoldSpec
from federation.models.build import build_model
from federation.models.parameters import flatten
from federation.models.spec import CnnSpec, LinearSpec, MlpSpec
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import seeded_streams
from federation.study.schedule import OptimiserSpec, Schedule
from site_client.patients import PatientDataset
from site_client.training import train_locally
from tests.replay.neighbours import CLASSES, FEATURES, ODD, Neighbours, neighbours

STEPS: Final = 3
RATE: Final = 0.3
MODELS: Final = {
    "linear": LinearSpec(kind="linear"),
    "mlp": MlpSpec(kind="mlp", hidden=(3,), activation="tanh", normalisation="layer"),
    "cnn": CnnSpec(kind="cnn", image_shape=(1, 3, 3), channels=(2,), hidden=2, normalisation="group"),
}
ALGORITHMS: Final = {
    "fedavg": FedAvgSpec(kind="fedavg"),
    "fedprox": FedProxSpec(kind="fedprox", mu=0.3),
    "scaffold": ScaffoldSpec(kind="scaffold"),
}
OPTIMISERS: Final = {
    "sgd": OptimiserSpec(learning_rate=RATE),
    "momentum": OptimiserSpec(learning_rate=RATE, momentum=0.9, weight_decay=0.01),
    "adam": OptimiserSpec(kind="adam", learning_rate=RATE),
}
NUMERATORS: Final = (2**53, 2**52, 3 * 2**50, 1)
"""Everybody, half, three eighths, practically nobody."""
TASKS: Final = ("binary", "multiclass", "regression")


@dataclass(frozen=True)
class Training:
    """One private round of a site; equal for every data set but for the patients."""

    model: str = "linear"
    task: str = "binary"
    algorithm: str = "fedavg"
    optimiser: str = "sgd"
    numerator: int = 2**53
    clipping_norm: float = 1.0
    pass_records: int = 4096
    round_number: int = 1
    network: Callable[[], nn.Module] | None = None

    def start(self) -> nn.Module:
        """The model of the round's beginning."""
        if self.network is not None:
            return self.network()
        outputs = CLASSES if self.task == "multiclass" else 1
        return build_model(MODELS[self.model], task=self.task, num_features=FEATURES, num_outputs=outputs, private=True)

    def __call__(self, dataset: PatientDataset) -> tuple[object, ...]:
        """Everything that the round gives away, as bytes and values that compare."""
        model, algorithm = self.start(), build_algorithm(ALGORITHMS[self.algorithm])
        start = flatten(model)
        received = {name: vector + 0.01 for name, vector in algorithm.start_server(len(start)).items()}
        state = algorithm.start_site(len(start))
        training = train_locally(
            model,
            dataset,
            task=self.task,
            schedule=Schedule(rounds=4, local_steps=STEPS, optimiser=OPTIMISERS[self.optimiser]),
            round_number=self.round_number,
            mechanism=self.mechanism,
            streams=seeded_streams(5, provenance="synthetic"),
            correction=algorithm.correction(start=torch.from_numpy(start), received=received, site=state),
            pass_records=self.pass_records,
        )
        update = training.parameters.astype(np.float64) - start
        local = LocalRound(update=update, num_steps=training.num_steps, learning_rate=RATE)
        sent, state = algorithm.finish_site(local, received=received, site=state)
        vectors = {
            name: vector.tobytes() for name, vector in {**sent, **{f"kept {n}": v for n, v in state.items()}}.items()
        }
        return training.parameters.tobytes(), training.num_steps, training.event, vectors

    @property
    def mechanism(self) -> MechanismSpec:
        """Little noise, so that the runs visit different parameters but stay finite."""
        return MechanismSpec(
            clipping_norm=self.clipping_norm,
            noise_multiplier=0.8,
            sampling_numerator=self.numerator,
            steps_per_round=STEPS,
            rounds=4,
            divisor=max(1.0, 8 * self.numerator / 2**53),
        )


def pairs(model: str, task: str, algorithm: str, *, seed: int) -> Iterator[tuple[Training, Neighbours, bool]]:
    """One pair of neighbours for each kind of odd patient, with everything else varied."""
    generator = np.random.default_rng([seed, *map(ord, model + task + algorithm)])
    optimisers = ["sgd"] if algorithm == "scaffold" else list(OPTIMISERS)
    for number, odd in enumerate(ODD):
        training = Training(
            model=model,
            task=task,
            algorithm=algorithm,
            optimiser=optimisers[int(generator.integers(0, len(optimisers)))],
            numerator=NUMERATORS[min(int(generator.integers(0, 8)), 3)] if number else 2**53,
            clipping_norm=float(10.0 ** generator.integers(-2, 2)),
            pass_records=int(generator.choice([16, 64, 1024])),
            round_number=int(generator.integers(1, 5)),
        )
        others = 0 if number == int(generator.integers(0, 40)) else int(generator.integers(1, 9))
        pair = neighbours(odd, task=task, seed=int(generator.integers(0, 2**31)), others=others)
        yield training, pair, bool(generator.integers(0, 2))


def everybody(training: Training) -> Training:
    """The same with every patient in every step."""
    return replace(training, numerator=2**53)
