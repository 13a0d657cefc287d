"""Chains of linear layers in packed memory give what the general kernels give, and refuse other networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.engines.batched.chain_steps import ChainStep, LayerStep, Operation, added, written
from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.descent import Descent
from experiments.engines.batched.draws import StepRows, laid_out
from experiments.engines.batched.private_chains import ClippedChain
from experiments.engines.batched.stacking import Stack
from federation.models.losses import record_loss_gradients
from federation.models.stacked.network import StackedNetwork, stacked_network
from federation.models.stacked.sinks import RecordGradients, SummedGradients
from federation.privacy.clipping import GRID_BITS
from federation.privacy.summation import clipping_factors, working_norm
from site_client.patients import PatientDataset

SITES, PLACES, FEATURES = 3, 6, 5
CHAINS = {
    "linear": [nn.Linear(5, 1)],
    "linear without bias": [nn.Linear(5, 3, bias=False)],
    "tanh": [nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)],
    "relu": [nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3)],
    "gelu": [nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 1), nn.GELU(), nn.Linear(1, 2)],
    "no biases": [nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 2, bias=False)],
}


def _network(name: str) -> tuple[StackedNetwork, ChainLayout, Tensor]:
    network = stacked_network(nn.Sequential(*CHAINS[name]))
    assert network is not None
    layout = ChainLayout.of(network)
    assert layout is not None
    generator = torch.Generator().manual_seed(1)
    return network, layout, torch.randn((SITES, network.num_parameters), generator=generator)


def _stack(layout: ChainLayout, *, scale: float = 1.0) -> Stack:
    generator = np.random.default_rng(2)
    datasets = [
        PatientDataset(
            (scale * generator.normal(size=(number, FEATURES))).astype(np.float32),
            generator.integers(0, 2, number).astype(np.float32),
            np.arange(number),
            tuple(f"x{place}" for place in range(FEATURES)),
        )
        for number in (PLACES, 2, 4)
    ]
    return Stack(datasets, device=torch.device("cpu"), with_ones=layout.has_ones)


def _places(stack: Stack) -> Tensor:
    places = torch.full((SITES, PLACES), stack.empty_row)
    for site, rows in enumerate(stack.sites):
        places[site, : len(rows.first)] = rows.start + torch.arange(len(rows.first))
    return places


def _laid_out(stack: Stack, places: Tensor) -> StepRows:
    (rows,) = laid_out(stack, places.unsqueeze(1).numpy(), [PLACES])
    return rows


def _task(layout: ChainLayout) -> str:
    return "binary" if layout.layers[-1].packed_shape[1] == 1 else "multiclass"


@pytest.mark.parametrize("name", CHAINS)
def test_packing_is_undone(name: str) -> None:
    _, layout, theta = _network(name)
    packed = layout.pack(theta)
    assert packed.shape == (theta.numel(),)
    assert sorted(packed.tolist()) == sorted(theta.flatten().tolist())
    assert torch.equal(layout.unpack(packed, num_sites=SITES), theta)
    steps = torch.stack([theta, -theta], dim=1).double()
    assert torch.equal(layout.pack_steps(steps), torch.stack([packed, -packed]).double())


@pytest.mark.parametrize("name", CHAINS)
def test_gradients_are_those_of_the_kernels_whether_written_or_added(name: str) -> None:
    network, layout, theta = _network(name)
    stack = _stack(layout)
    places = _places(stack)
    features, outcomes = stack.taken(places)
    weights = (places != stack.empty_row).float() / 7
    wanted = torch.zeros_like(theta)
    network.loss_gradients(theta, features, outcomes, task=_task(layout), sink=SummedGradients(wanted), weights=weights)
    packed = layout.pack(theta)
    gradient = torch.full_like(packed, math.nan)
    pieces = layout.pieces(gradient, num_sites=SITES)
    own = layout.pieces(packed, num_sites=SITES)

    def write_and_add(step: LayerStep) -> list[Operation]:
        return [*written(pieces[step.number], step), *added(own[step.number], step, factor=-0.5)]

    step = ChainStep(layout, packed, num_sites=SITES, places=PLACES, products=write_and_add)
    rows = _laid_out(stack, places)
    outputs = step.say(stack.rows, rows.chosen)
    filled = places != stack.empty_row  # what an empty place says counts for nothing
    by_site = outputs[: places.numel()].view(SITES, PLACES, -1)
    torch.testing.assert_close(by_site[filled], network.outputs(theta, features)[filled])
    given = torch.zeros((len(rows.chosen), 1))
    given[: places.numel(), 0] = weights.flatten()
    step.at_outputs.copy_(record_loss_gradients(_task(layout), outputs, rows.outcomes) * given)
    step.go_back()
    torch.testing.assert_close(layout.unpack(gradient, num_sites=SITES), wanted)
    torch.testing.assert_close(layout.unpack(packed, num_sites=SITES), theta - 0.5 * wanted)


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e22, math.inf])
@pytest.mark.parametrize("name", CHAINS)
def test_clipped_sums_are_those_of_the_kernels(name: str, scale: float) -> None:
    network, layout, theta = _network(name)
    stack = _stack(layout)
    stack.rows[1, :FEATURES] *= scale  # beyond 1e19 the square leaves float32; infinite records are left out
    places = _places(stack)
    features, outcomes = stack.taken(places)
    sink = RecordGradients()
    network.loss_gradients(theta, features, outcomes, task=_task(layout), sink=sink)
    squares = sink.squared_norms()
    unusable = ~torch.isfinite(squares)
    assert bool(unusable.any()) == math.isinf(scale)
    sink.forget(unusable)
    bound = working_norm(0.5, num_parameters=network.num_parameters)
    factors = clipping_factors(squares.sqrt(), bound).masked_fill(unusable | (places == stack.empty_row), 0.0)
    wanted = torch.zeros(theta.shape, dtype=torch.float64)
    sink.add_weighted(factors, wanted)
    descent = Descent(layout.pack(theta), SITES, layout, lambda _: None, None)
    clipped = ClippedChain(layout, descent, stack, task=_task(layout), clipping_norm=0.5)
    found = clipped.cut_sums(_laid_out(stack, places))
    assert torch.equal(found, found.trunc())
    steps = layout.unpack(found, num_sites=SITES).double() * 0.5 * 2.0**-GRID_BITS
    torch.testing.assert_close(steps, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Tanh(), nn.Linear(5, 1)],
        [nn.Linear(5, 1), nn.Tanh()],
        [nn.Linear(5, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 1)],
        [nn.Linear(5, 4), nn.Linear(4, 1)],
    ],
    ids=["activation first", "activation last", "normalisation", "nothing between"],
)
def test_other_networks_are_no_chains(layers: list[nn.Module]) -> None:
    network = stacked_network(nn.Sequential(*layers))
    assert network is not None
    assert ChainLayout.of(network) is None


def test_a_record_that_needs_a_wider_range_changes_nothing_at_other_sites() -> None:
    _, layout, theta = _network("tanh")

    def of_others(scale: float) -> Tensor:
        stack = _stack(layout)
        stack.rows[1, :FEATURES] *= scale
        descent = Descent(layout.pack(theta), SITES, layout, lambda _: None, None)
        clipped = ClippedChain(layout, descent, stack, task=_task(layout), clipping_norm=0.5)
        return layout.unpack(clipped.cut_sums(_laid_out(stack, _places(stack))), num_sites=SITES)[1:]

    wanted = of_others(1.0)
    assert bool(wanted.any())
    for scale in (1e22, math.inf):
        assert torch.equal(of_others(scale), wanted)


def test_steps_are_laid_out_in_order_with_their_own_places_and_shares() -> None:
    _, layout, _ = _network("tanh")
    stack = _stack(layout)
    places = torch.full((SITES, 3, 4), stack.empty_row)
    places[0, 0] = torch.arange(4)
    places[1, 1, :2] = stack.sites[1].start + torch.arange(2)
    first, second, third = laid_out(stack, places.numpy(), [4, 2, 4])
    assert [rows.width for rows in (first, second, third)] == [4, 2, 4]
    assert len(first.chosen) == len(second.chosen) == 32  # whole vectors
    assert first.chosen[:4].tolist() == [0, 1, 2, 3]
    assert first.shares[:5, 0].tolist() == [0.25] * 4 + [0.0]
    assert second.chosen[2:4].tolist() == places[1, 1, :2].tolist()
    assert second.shares.sum() == 1
    assert torch.equal(second.outcomes, stack.outcomes[second.chosen])
    assert bool((third.chosen == stack.empty_row).all())
    assert not third.shares.any()
