"""The floor: the same steps as a plain PyTorch loop over the sites, with no messages, no checks and nothing written."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from experiments.benchmarks.ways.given import Given
from experiments.benchmarks.workload import LEARNING_RATE
from federation.models.parameters import Vector, flatten


def local_steps(model: nn.Module, features: Tensor, outcomes: Tensor, order: Tensor, *, batch_size: int) -> None:
    """One epoch of plain SGD at one site, in place.

    Args:
        model: From ``[R, F]`` to ``[R, 1]``.
        features: ``[R, F]``.
        outcomes: ``[R]``.
        order: ``[R]`` patients in the order in which they are taken.
        batch_size: Patients of a step.
    """
    optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for rows in order.split(batch_size):
        optimiser.zero_grad()
        outputs = model(features[rows])[:, 0]
        nn.functional.binary_cross_entropy_with_logits(outputs, outcomes[rows]).backward()
        optimiser.step()


def run(given: Given) -> tuple[Vector, list[float]]:
    """All rounds.

    Returns:
        The final parameters, and when each round ended.
    """
    workload = given.workload
    model = given.model()
    sites = [
        (torch.from_numpy(features), torch.from_numpy(outcomes))
        for features, outcomes in zip(given.features, given.outcomes, strict=True)
    ]
    orders = torch.from_numpy(given.orders)
    shared = nn.utils.parameters_to_vector(model.parameters()).detach()
    ends: list[float] = []
    for round_index in range(workload.rounds):
        total = torch.zeros_like(shared)
        for site, (features, outcomes) in enumerate(sites):
            # A copy: the parameters become views of what they are given, and steps are in place.
            nn.utils.vector_to_parameters(shared.clone(), model.parameters())
            local_steps(model, features, outcomes, orders[site, round_index], batch_size=workload.batch_size)
            total += nn.utils.parameters_to_vector(model.parameters()).detach()
        shared = total / workload.num_sites
        ends.append(time.perf_counter())
    nn.utils.vector_to_parameters(shared.clone(), model.parameters())
    return flatten(model), ends
