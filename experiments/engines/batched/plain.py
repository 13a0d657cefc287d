"""Plain local training of a block of sites: the mini-batches of :mod:`site_client.training`, one step of all sites at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from experiments.engines.batched.descent import Step
from experiments.engines.batched.stacking import IndexArray, SiteRows, Stack, placed
from federation.models.stacked.network import StackedNetwork
from federation.models.stacked.sinks import SummedGradients
from federation.models.task_terms import Objective
from federation.privacy.randomness import RandomStreams
from federation.study.schedule import Schedule

_MOST_VALUES: Final = 2**24
"""Feature values that are gathered at once: 64 MiB."""


def train_plainly(
    network: StackedNetwork,
    theta: Tensor,
    stack: Stack,
    *,
    step: Step,
    task: Objective,
    schedule: Schedule,
    round_number: int,
    streams: Sequence[RandomStreams],
) -> None:
    """Train all sites of a block for one round, in place.

    Args:
        network: Of the study.
        theta: ``[S, D]`` start parameters of each site; the trained ones afterwards.
        stack: The sites' records. A site without any keeps its parameters, but for the algorithm's correction.
        step: Of :func:`~experiments.engines.batched.descent.stepping`.
        task: Sets the loss.
        schedule: Steps and batch size.
        round_number: From 1.
        streams: Of each site's training.
    """
    chosen = [
        _rows_of_steps(rows, schedule=schedule, round_number=round_number, streams=own)
        for rows, own in zip(stack.sites, streams, strict=True)
    ]
    places = torch.from_numpy(
        placed(
            [rows for rows, _ in chosen],
            [steps for _, steps in chosen],
            num_steps=schedule.local_steps,
            empty_row=stack.empty_row,
        )
    ).to(stack.device)
    gradient = torch.zeros_like(theta)
    sink = SummedGradients(gradient)
    num_sites, num_steps, width = places.shape
    weights = (places != stack.empty_row).to(torch.float32)
    weights /= weights.sum(dim=2, keepdim=True).clamp(min=1.0)
    at_once = max(1, _MOST_VALUES // (num_sites * width * stack.features.shape[1]))
    for first in range(0, num_steps, at_once):
        some = places[:, first : first + at_once].transpose(0, 1)
        features, outcomes = stack.taken(some)
        shares = weights[:, first : first + at_once].transpose(0, 1).contiguous()
        for number in range(len(features)):
            network.loss_gradients(
                theta, features[number], outcomes[number], task=task, sink=sink, weights=shares[number]
            )
            step(gradient)


def _rows_of_steps(
    rows: SiteRows, *, schedule: Schedule, round_number: int, streams: RandomStreams
) -> tuple[IndexArray, IndexArray]:
    """Rows of the stack for all steps of a round, and the step of each: the same as ``training._mini_batches`` gives."""
    num_patients, size = len(rows.first), schedule.batch_size
    if num_patients == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    batches = -(-num_patients // size)
    first = (round_number - 1) * schedule.local_steps
    steps = np.arange(first, first + schedule.local_steps)
    parts: list[IndexArray] = []
    step_of: list[IndexArray] = []
    for epoch in range(int(steps[0]) // batches, int(steps[-1]) // batches + 1):
        order = streams.stream("shuffle", epoch).permutation(num_patients)
        begin = max(int(steps[0]), epoch * batches)
        end = min(int(steps[-1]) + 1, (epoch + 1) * batches)
        patients = order[(begin - epoch * batches) * size : (end - epoch * batches) * size].astype(np.int64)
        own, owners = rows.of(patients)
        parts.append(own)
        step_of.append(begin - first + owners // size)
    return np.concatenate(parts), np.concatenate(step_of)
