"""Local descent of many sites at once: the operations are element-wise, so each site's are exactly its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from experiments.engines.batched.chains import ChainLayout
from federation.algorithms.fedavg import Correction, FederatedAveraging, State
from federation.study.schedule import Schedule

Step = Callable[[Tensor], object]


@dataclass(frozen=True)
class Descent:
    """The parameters of the sites of a block during a round, and how they are stepped.

    Args:
        theta: ``[S, D]``, or ``[S D]`` packed by the layout; changed in place.
        num_sites: S.
        layout: Of a chain; ``None``: flat.
        step: Takes gradients in ``theta``'s shape.
        rate: The learning rate, if a step does no more than subtract the gradient times it; else ``None``.
    """

    theta: Tensor = field(repr=False)
    num_sites: int
    layout: ChainLayout | None
    step: Step
    rate: float | None

    def parameters(self) -> Tensor:
        """``[S, D]`` of each site."""
        if self.layout is None:
            return self.theta
        return self.layout.unpack(self.theta, num_sites=self.num_sites)


def start_descent(
    algorithm: FederatedAveraging,
    *,
    start: Tensor,
    received: State,
    states: Sequence[State],
    schedule: Schedule,
    round_number: int,
    layout: ChainLayout | None,
) -> Descent:
    """Every site at the round's parameters, with a new optimiser.

    Args:
        algorithm: Of the study. Its corrections add and multiply element by element, so they serve all sites as they serve one.
        start: ``[D]`` the round's parameters, on the device of training.
        received: What the aggregator broadcasts.
        states: One for each site.
        schedule: Optimiser and learning rate.
        round_number: From 1.
        layout: Of a chain; ``None``: flat.
    """

    def placed(values: Tensor) -> Tensor:
        return values if layout is None else layout.pack(values)

    theta = placed(start.repeat(len(states), 1))
    by_site = {name: np.stack([state[name] for state in states]) for name in states[0]}
    to_all = {name: np.broadcast_to(array, (len(states), array.size)).copy() for name, array in received.items()}
    correction = algorithm.correction(
        start=theta.clone(),
        received={name: placed(torch.from_numpy(array)).numpy() for name, array in to_all.items()},
        site={name: placed(torch.from_numpy(array)).numpy() for name, array in by_site.items()},
    )
    step, rate = _stepping(theta, schedule=schedule, round_number=round_number, correction=correction)
    return Descent(theta, len(states), layout, step, rate)


def _stepping(
    theta: Tensor, *, schedule: Schedule, round_number: int, correction: Correction | None
) -> tuple[Step, float | None]:
    """What steps ``theta`` by gradients, and the rate of a step that does nothing else."""
    spec, rate = schedule.optimiser, schedule.learning_rate_of(round_number)
    if spec.kind == "sgd" and spec.momentum == 0 and spec.weight_decay == 0:

        def descend(gradient: Tensor) -> None:
            theta.add_(gradient if correction is None else correction(gradient, theta), alpha=-rate)

        return descend, rate if correction is None else None
    # Made only where it is needed: the first optimiser of a process makes torch import its compiler.
    if spec.kind == "adam":
        optimiser: torch.optim.Optimizer = torch.optim.Adam(
            [theta], lr=rate, betas=(spec.beta_1, spec.beta_2), weight_decay=spec.weight_decay
        )
    else:
        optimiser = torch.optim.SGD([theta], lr=rate, momentum=spec.momentum, weight_decay=spec.weight_decay)

    def step(gradient: Tensor) -> None:
        theta.grad = gradient if correction is None else correction(gradient, theta)
        optimiser.step()

    return step, None
