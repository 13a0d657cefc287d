"""Plain local training of a block of sites: the mini-batches of :mod:`site_client.training`, one step of all sites at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from experiments.engines.batched.chain_steps import ChainStep, LayerStep, Operation, added, written
from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.descent import Descent
from experiments.engines.batched.stacking import IndexArray, SiteRows, Stack, placed
from federation.models.losses import record_loss_gradients
from federation.models.stacked.network import StackedNetwork
from federation.models.stacked.sinks import SummedGradients
from federation.models.task_terms import Objective
from federation.privacy.randomness import RandomStreams
from federation.study.schedule import Schedule

_MOST_VALUES: Final = 2**24
"""Feature values that are gathered at once: 64 MiB."""


def train_plainly(
    network: StackedNetwork,
    descent: Descent,
    stack: Stack,
    *,
    task: Objective,
    schedule: Schedule,
    round_number: int,
    streams: Sequence[RandomStreams],
) -> None:
    """Train all sites of a block for one round, in place.

    Args:
        network: Of the study.
        descent: Start parameters of each site; the trained ones afterwards. A site without records keeps its parameters, but
            for the algorithm's correction.
        stack: The sites' records.
        task: Sets the loss.
        schedule: Steps and batch size.
        round_number: From 1.
        streams: Of each site's training.
    """
    chosen = [
        _rows_of_steps(rows, schedule=schedule, round_number=round_number, streams=own)
        for rows, own in zip(stack.sites, streams, strict=True)
    ]
    places = placed(
        [rows for rows, _ in chosen],
        [steps for _, steps in chosen],
        num_steps=schedule.local_steps,
        empty_row=stack.empty_row,
    )
    if descent.layout is None:
        _train_network(network, descent, stack, torch.from_numpy(places).to(stack.device), task=task)
    else:
        _train_chain(descent.layout, descent, stack, places, task=task)


def _train_network(network: StackedNetwork, descent: Descent, stack: Stack, places: Tensor, *, task: Objective) -> None:
    gradient = torch.zeros_like(descent.theta)
    sink = SummedGradients(gradient)
    num_sites, num_steps, width = places.shape
    weights = _weights(places, stack)
    at_once = max(1, _MOST_VALUES // (num_sites * width * stack.num_features))
    for first in range(0, num_steps, at_once):
        some = places[:, first : first + at_once].transpose(0, 1)
        features, outcomes = stack.taken(some)
        shares = weights[:, first : first + at_once].transpose(0, 1).contiguous()
        for number in range(len(features)):
            network.loss_gradients(
                descent.theta, features[number], outcomes[number], task=task, sink=sink, weights=shares[number]
            )
            descent.step(gradient)


def _train_chain(layout: ChainLayout, descent: Descent, stack: Stack, places: IndexArray, *, task: Objective) -> None:
    """A plain step is added to the parameters by the product that makes it; any other needs the gradient."""
    num_sites, rate = descent.num_sites, descent.rate
    gradient = None if rate is not None else torch.empty_like(descent.theta)
    pieces = layout.pieces(descent.theta if gradient is None else gradient, num_sites=num_sites)

    def products(step: LayerStep) -> list[Operation]:
        piece = pieces[step.number]
        return written(piece, step) if rate is None else added(piece, step, factor=-rate)

    @functools.cache
    def prepared(width: int) -> ChainStep:
        return ChainStep(layout, descent.theta, num_sites=num_sites, places=width, products=products)

    for width, chosen, outcomes, weights in _steps(stack, places):
        step = prepared(width)
        at_outputs = record_loss_gradients(task, step.say(stack.rows, chosen), outcomes)
        torch.mul(at_outputs, weights, out=step.at_outputs)
        step.go_back()
        if gradient is not None:
            descent.step(gradient)


def _steps(stack: Stack, places: IndexArray) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Places B that a step needs, its rows ``[S B]``, their outcomes ``[S, B]`` and weights ``[S, B, 1]``."""
    widths = stack.widths(places)
    by_step = torch.from_numpy(np.ascontiguousarray(places.transpose(1, 0, 2))).to(stack.device)
    outcomes = stack.outcomes.index_select(0, by_step.view(-1)).view(by_step.shape)
    weights = _weights(by_step, stack).unsqueeze(3)
    for number, width in enumerate(widths):
        chosen = by_step[number, :, :width].reshape(-1)
        yield width, chosen, outcomes[number, :, :width], weights[number, :, :width]


def _weights(places: Tensor, stack: Stack) -> Tensor:
    """One over the records of a site's step, in places with a record; the shape of ``places``, records last."""
    weights = (places != stack.empty_row).to(torch.float32)
    return weights.div_(weights.sum(dim=2, keepdim=True).clamp_(min=1.0))


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
