"""A peer: the same federation in pfl-research's simulation (Granqvist et al. 2024), one process, PyTorch.

pfl asks for another dp-accounting than ours, so it runs with an environment of its own; see
:mod:`experiments.benchmarks.peer_environment`. Where the type checker runs it is absent, hence the imports by name.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks.ways.given import Given
from experiments.benchmarks.workload import LEARNING_RATE
from federation.models.parameters import Vector, flatten


class _Judged(nn.Module):
    """The model with the loss that pfl asks for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return self.network(features)[:, 0]

    def loss(self, features: Tensor, outcomes: Tensor) -> Tensor:
        """Mean binary cross entropy of a batch."""
        return nn.functional.binary_cross_entropy_with_logits(self(features), outcomes)

    def metrics(self, features: Tensor, outcomes: Tensor) -> dict[str, object]:  # noqa: ARG002 - pfl's signature
        """None: training is what is measured."""
        return {}


def run(given: Given) -> tuple[Vector, list[float]]:
    """All rounds of pfl's federated averaging.

    Returns:
        The final parameters, and when each round ended.
    """
    algorithms: Any = import_module("pfl.algorithm.federated_averaging")
    parameters: Any = import_module("pfl.algorithm.base")
    hyper: Any = import_module("pfl.hyperparam.base")
    wrapped: Any = import_module("pfl.model.pytorch")
    workload = given.workload
    network = given.model()
    judged = _Judged(network)
    model = wrapped.PyTorchModel(
        judged,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(judged.parameters(), lr=1.0),
    )
    data = _federated_data(given)
    backend = import_module("pfl.aggregate.simulate").SimulatedBackend(training_data=data, val_data=data)
    ends: list[float] = []
    algorithms.FederatedAveraging().run(
        parameters.NNAlgorithmParams(
            central_num_iterations=workload.rounds,
            evaluation_frequency=workload.rounds + 1,
            train_cohort_size=workload.num_sites,
            val_cohort_size=0,
        ),
        backend,
        model,
        hyper.NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=LEARNING_RATE, local_batch_size=workload.batch_size
        ),
        None,
        callbacks=[_stop_watch(ends)],
        send_metrics_to_platform=False,
    )
    return flatten(network), ends


def _stop_watch(ends: list[float]) -> object:
    kinds: Any = import_module("pfl.callback.base")
    metrics: Any = import_module("pfl.metrics")

    class StopWatch(kinds.TrainingProcessCallback):
        def after_central_iteration(
            self,
            aggregate_metrics: object,  # noqa: ARG002 - pfl's signature
            model: object,  # noqa: ARG002 - pfl's signature
            *,
            central_iteration: int,  # noqa: ARG002 - pfl's signature
        ) -> tuple[bool, object]:
            ends.append(time.perf_counter())
            return False, metrics.Metrics()

    return StopWatch()


def _federated_data(given: Given) -> object:
    """Sites in turn, each with its patients in the order of the round: pfl cuts them into batches as they lie."""
    kind = import_module("pfl.data.pytorch").PyTorchTensorDataset
    rounds: Counter[int] = Counter()

    def dataset(site: int) -> object:
        order = given.orders[site, rounds[site]]
        rounds[site] += 1
        tensors = (torch.from_numpy(given.features[site][order]), torch.from_numpy(given.outcomes[site][order]))
        return kind(tensors, user_id=str(site))

    in_turn = functools.partial(next, itertools.cycle(range(given.workload.num_sites)))
    return import_module("pfl.data.federated_dataset").FederatedDataset(dataset, in_turn)
