"""A peer: DP-SGD with Opacus' own hooks, or its ghost clipping, in a plain loop over the sites.

Opacus' samplers and its ``PrivacyEngine`` are left out, which only makes it faster: what is measured is the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn

from experiments.benchmarks.ways.given import Given
from experiments.benchmarks.workload import CLIPPING_NORM, LEARNING_RATE, NOISE_MULTIPLIER
from federation.models.parameters import Vector, flatten

LARGEST_GRADIENTS: Final = 2**30
"""Bytes of per-record gradients that the hooks may hold at once; a larger batch goes through in several passes."""

Step = Callable[[Tensor, Tensor], None]
"""One private step on the records that were drawn: ``[drawn, F]`` and ``[drawn]``."""


def hooked_step(model: nn.Module, *, batch_size: int) -> Step:
    """DP-SGD with per-record gradients from hooks.

    Args:
        model: Is wrapped; changed at every step.
        batch_size: Patients that are drawn in the mean, the divisor.
    """
    hooked = GradSampleModule(model, loss_reduction="mean")
    optimiser = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=LEARNING_RATE),
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=CLIPPING_NORM,
        expected_batch_size=batch_size,
    )
    size = sum(parameter.numel() for parameter in model.parameters())
    fitting = max(1, LARGEST_GRADIENTS // (4 * size))

    def step(features: Tensor, outcomes: Tensor) -> None:
        passes = list(zip(features.split(fitting), outcomes.split(fitting), strict=True))
        for number, (some, their) in enumerate(passes, start=1):
            optimiser.signal_skip_step(do_skip=number < len(passes))
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(hooked(some)[:, 0], their).backward()
            optimiser.step()

    return step


def ghost_step(model: nn.Module, *, batch_size: int) -> Step:
    """DP-SGD with norms from activations and output gradients, and a second backward pass. See :func:`hooked_step`."""
    hooked = GradSampleModuleFastGradientClipping(
        model,
        loss_reduction="mean",
        max_grad_norm=CLIPPING_NORM,  # pyright: ignore[reportArgumentType] - typed by its default; any number is taken
        use_ghost_clipping=True,
    )
    optimiser = DPOptimizerFastGradientClipping(
        torch.optim.SGD(model.parameters(), lr=LEARNING_RATE),
        noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=CLIPPING_NORM,
        expected_batch_size=batch_size,
    )
    losses: Any = DPLossFastGradientClipping(hooked, optimiser, nn.BCEWithLogitsLoss(), loss_reduction="mean")

    def step(features: Tensor, outcomes: Tensor) -> None:
        optimiser.zero_grad()
        losses(hooked(features)[:, 0], outcomes).backward()
        optimiser.step()

    return step


def private_epoch(step: Step, features: Tensor, outcomes: Tensor, *, steps: int, probability: float) -> None:
    """The steps of one round at one site, each on patients drawn independently."""
    for _ in range(steps):
        rows = torch.rand(len(outcomes)) < probability
        step(features[rows], outcomes[rows])


def run(given: Given, *, ghost: bool) -> tuple[Vector, list[float]]:
    """All rounds; one wrapped model serves every site.

    Returns:
        The final parameters, and when each round ended.
    """
    workload = given.workload
    model = given.model()
    step = (ghost_step if ghost else hooked_step)(model, batch_size=workload.batch_size)
    sites = [
        (torch.from_numpy(features), torch.from_numpy(outcomes))
        for features, outcomes in zip(given.features, given.outcomes, strict=True)
    ]
    shared = nn.utils.parameters_to_vector(model.parameters()).detach()
    ends: list[float] = []
    for _ in range(workload.rounds):
        total = torch.zeros_like(shared)
        for features, outcomes in sites:
            nn.utils.vector_to_parameters(shared.clone(), model.parameters())
            private_epoch(
                step,
                features,
                outcomes,
                steps=workload.local_steps,
                probability=workload.sampling_probability,
            )
            total += nn.utils.parameters_to_vector(model.parameters()).detach()
        shared = total / workload.num_sites
        ends.append(time.perf_counter())
    nn.utils.vector_to_parameters(shared.clone(), model.parameters())
    return flatten(model), ends
