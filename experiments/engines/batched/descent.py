"""Optimiser steps of many sites at once: the operations are element-wise, so each site's are exactly its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from federation.algorithms.fedavg import Correction, FederatedAveraging, State
from federation.study.schedule import Schedule

Step = Callable[[Tensor], object]


def stacked_correction(
    algorithm: FederatedAveraging, *, start: Tensor, received: State, states: Sequence[State]
) -> Correction | None:
    """What the algorithm does to the gradients ``[S, D]`` of all sites.

    Corrections add and multiply element by element, so they serve a stack of gradients as they serve one.

    Args:
        algorithm: Of the study.
        start: ``[D]`` the round's parameters, on the device of the gradients.
        received: What the aggregator broadcasts.
        states: One for each site.
    """
    names = states[0].keys()
    stacked: Mapping[str, NDArray[np.float64]] = {name: np.stack([state[name] for state in states]) for name in names}
    return algorithm.correction(start=start, received=received, site=stacked)


def stepping(theta: Tensor, *, schedule: Schedule, round_number: int, correction: Correction | None) -> Step:
    """What steps ``theta [S, D]`` by gradients ``[S, D]``; a new optimiser for every round.

    Args:
        theta: Changed in place with every step.
        schedule: Optimiser and learning rate.
        round_number: From 1.
        correction: Of :func:`stacked_correction`, on ``theta``'s device.
    """
    spec, rate = schedule.optimiser, schedule.learning_rate_of(round_number)
    if spec.kind == "adam":
        optimiser: torch.optim.Optimizer = torch.optim.Adam(
            [theta], lr=rate, betas=(spec.beta_1, spec.beta_2), weight_decay=spec.weight_decay
        )
    else:
        optimiser = torch.optim.SGD([theta], lr=rate, momentum=spec.momentum, weight_decay=spec.weight_decay)
    is_plain = spec.kind == "sgd" and spec.momentum == 0 and spec.weight_decay == 0

    def step(gradient: Tensor) -> None:
        if correction is not None:
            gradient = correction(gradient, theta)
        if is_plain:
            theta.add_(gradient, alpha=-rate)
            return
        theta.grad = gradient
        optimiser.step()

    return step
