"""Plain local training of a block of sites: the mini-batches of :mod:`site_client.training`, one step of all sites at a time."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.engines.batched.chain_steps import ChainStep, LayerStep, Operation, StepBuffers, added, written
from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.descent import Descent
from experiments.engines.batched.draws import MOST_BYTES, Draws, laid_out, whole_vectors
from experiments.engines.batched.stacking import IndexArray, Stack
from federation.models.losses import record_loss_gradients
from federation.models.stacked.network import StackedNetwork
from federation.models.stacked.sinks import SummedGradients
from federation.models.task_terms import Objective


def train_plainly(
    network: StackedNetwork,
    descent: Descent,
    stack: Stack,
    draws: Draws,
    *,
    widths: Sequence[int],
    task: Objective,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Train all sites of a block for one round, in place.

    Args:
        network: Of the study.
        descent: Start parameters of each site; the trained ones afterwards. A site without records keeps its parameters, but
            for the algorithm's correction.
        stack: The sites' records.
        draws: Their mini-batches.
        widths: ``[K]`` places that each step gets.
        task: Sets the loss.
        most_bytes: For what is made for several steps at once.
    """
    if descent.layout is None:
        places = draws.placed_in(whole_vectors(max(widths)), empty_row=stack.empty_row).places
        _train_network(
            network, descent, stack, torch.from_numpy(places).to(stack.device), task=task, most_bytes=most_bytes
        )
    else:
        _train_chain(descent.layout, descent, stack, draws.places, widths=widths, task=task, most_bytes=most_bytes)


def _train_network(
    network: StackedNetwork, descent: Descent, stack: Stack, places: Tensor, *, task: Objective, most_bytes: int
) -> None:
    gradient = torch.zeros_like(descent.theta)
    sink = SummedGradients(gradient)
    num_sites, num_steps, width = places.shape
    weights = _weights(places, stack)
    at_once = max(1, most_bytes // (4 * num_sites * width * stack.num_features))
    for first in range(0, num_steps, at_once):
        some = places[:, first : first + at_once].transpose(0, 1)
        features, outcomes = stack.taken(some)
        shares = weights[:, first : first + at_once].transpose(0, 1).contiguous()
        for number in range(len(features)):
            network.loss_gradients(
                descent.theta, features[number], outcomes[number], task=task, sink=sink, weights=shares[number]
            )
            descent.step(gradient)


def _train_chain(
    layout: ChainLayout,
    descent: Descent,
    stack: Stack,
    places: IndexArray,
    *,
    widths: Sequence[int],
    task: Objective,
    most_bytes: int,
) -> None:
    """A plain step is added to the parameters by the product that makes it; any other needs the gradient."""
    num_sites, rate = descent.num_sites, descent.rate
    gradient = None if rate is not None else torch.empty_like(descent.theta)
    pieces = layout.pieces(descent.theta if gradient is None else gradient, num_sites=num_sites)

    def products(step: LayerStep) -> list[Operation]:
        piece = pieces[step.number]
        return written(piece, step) if rate is None else added(piece, step, factor=-rate)

    buffers = StepBuffers(descent.theta, most_rows=num_sites * max(widths))

    @functools.cache
    def prepared(width: int) -> ChainStep:
        return ChainStep(layout, descent.theta, num_sites=num_sites, places=width, products=products, buffers=buffers)

    for of_step in laid_out(stack, places, widths, most_bytes=most_bytes):
        step = prepared(of_step.width)
        at_outputs = record_loss_gradients(task, step.say(stack.rows, of_step.chosen), of_step.outcomes)
        torch.mul(at_outputs, of_step.shares, out=step.at_outputs)
        step.go_back()
        if gradient is not None:
            descent.step(gradient)


def _weights(places: Tensor, stack: Stack) -> Tensor:
    """One over the records of a site's step, in places with a record; the shape of ``places``, records last."""
    weights = (places != stack.empty_row).to(torch.float32)
    return weights.div_(weights.sum(dim=2, keepdim=True).clamp_(min=1.0))
