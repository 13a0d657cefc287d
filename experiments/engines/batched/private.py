"""Patient-level private training of a block of sites: the kernels, draws and noise of a real site, all sites at a time.

Sampling and noise are read from the same key-streams as at a site, the noise of many steps at once. The clipped sum of a site is
cut to the grid as there. Passes have no fixed shape here: no real patient is in a simulation that this engine runs for, and a
site's own arithmetic differs in the last bits only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.descent import Descent
from experiments.engines.batched.draws import MOST_BYTES, Draws, laid_out, whole_vectors
from experiments.engines.batched.private_chains import ClippedChain
from experiments.engines.batched.stacking import IndexArray, Stack
from federation.models.stacked.network import StackedNetwork
from federation.models.stacked.patient_sums import patient_sums
from federation.models.stacked.sinks import RecordGradients
from federation.models.task_terms import Objective
from federation.privacy.clipping import GRID_BITS, grid_step
from federation.privacy.keystream import KeyStream
from federation.privacy.noise import LONGEST_BLOCK, standard_normal, uniform_words, write_normals
from federation.privacy.promise import MechanismSpec
from federation.privacy.summation import MOST_CANCELLATION, clipping_factors, cut_to_grid, working_norm

_CPU: Final = torch.device("cpu")
_ROWS: Final = 8
"""Widths are whole numbers of it, so that there are few."""

Apart = Callable[[int, IndexArray, Tensor], Tensor]
"""(site of the block, rows of the stack of one patient, ``[D]`` parameters) to its clipped gradient in grid steps ``[D]``."""


def clipped_sums(  # noqa: PLR0913 - what a step is made of
    network: StackedNetwork,
    theta: Tensor,
    stack: Stack,
    *,
    places: Tensor,
    owners: Tensor | None,
    task: Objective,
    clipping_norm: float,
    grid_bits: int = GRID_BITS,
    apart: Apart,
) -> Tensor:
    """Clipped gradients of the drawn patients of each site, added up.

    Args:
        network: Of the study.
        theta: ``[S, D]``.
        stack: The sites' records.
        places: ``[S, B]`` rows of the stack.
        owners: ``[S, B]``, see :class:`~experiments.engines.batched.draws.Draws`.
        task: Sets the loss.
        clipping_norm: Of one patient.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
        apart: Takes the patients whose records' gradients all but cancel each other.

    Returns:
        ``[S, D]`` float64 whole grid steps.
    """
    features, outcomes = stack.taken(places)
    sink = RecordGradients()
    network.loss_gradients(theta, features, outcomes, task=task, sink=sink)
    squares = sink.squared_norms()
    unusable = None
    if not math.isfinite(squares.sum().item()):
        unusable = ~torch.isfinite(squares)
        sink.forget(unusable)
        squares.masked_fill_(unusable, 0.0)
    bound = working_norm(clipping_norm, num_parameters=network.num_parameters, grid_bits=grid_bits)
    total = torch.zeros(theta.shape, dtype=torch.float64, device=theta.device)
    left: Tensor | None = None
    if owners is None:
        factors = clipping_factors(squares.sqrt_(), bound)
    else:
        same = ((owners.unsqueeze(1) == owners.unsqueeze(2)) & (owners >= 0).unsqueeze(1)).double()
        factors = clipping_factors(sink.squared_patient_norms(same).sqrt_(), bound)
        if unusable is not None:
            factors[torch.bmm(same, unusable.double().unsqueeze(2)).squeeze(2) > 0] = 0.0
        left = patient_sums(same, squares.sqrt()) * factors > MOST_CANCELLATION * bound
        factors[left] = 0.0
    factors.masked_fill_(places == stack.empty_row if unusable is None else unusable | (places == stack.empty_row), 0.0)
    sink.add_weighted(factors, total)
    cut = cut_to_grid(total, clipping_norm=clipping_norm, grid_bits=grid_bits)
    if left is not None and owners is not None and bool(left.any()):
        for site, rows in _patients_left(left, places, owners):
            cut[site] += apart(site, rows, theta[site]).to(cut.device)
    return cut


def step_places(stack: Stack, draws: Draws, step: int, *, width: int) -> tuple[Tensor, Tensor | None]:
    """Places and owners ``[S, B]`` of a step, at least so many places, as whole vectors.

    Args:
        stack: The sites' records.
        draws: Of the round.
        step: From 0.
        width: Places that are wanted.
    """
    own = Draws(draws.places[:, step : step + 1], None if draws.owners is None else draws.owners[:, step : step + 1])
    own = own.placed_in(whole_vectors(width), empty_row=stack.empty_row)
    places = torch.from_numpy(own.places[:, 0]).to(stack.device)
    return places, None if own.owners is None else torch.from_numpy(own.owners[:, 0]).to(stack.device)


def _patients_left(left: Tensor, places: Tensor, owners: Tensor) -> Iterator[tuple[int, IndexArray]]:
    """(site of the block, rows of the stack) of every patient of whom a record is marked in ``left [S, B]``."""
    for site in torch.nonzero(left.any(dim=1)).flatten().tolist():
        for owner in owners[site][left[site]].unique().tolist():
            yield site, places[site][owners[site] == owner].cpu().numpy()


def train_privately(  # noqa: PLR0913 - what a round is made of
    network: StackedNetwork,
    descent: Descent,
    stack: Stack,
    draws: Draws,
    *,
    widths: Sequence[int],
    task: Objective,
    mechanisms: Sequence[MechanismSpec],
    noises: Sequence[KeyStream],
    apart: Apart,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Train all sites of a block for one round, in place.

    Args:
        network: Of the study.
        descent: Start parameters of each site; the trained ones afterwards.
        stack: The sites' records; a site may have none, and then releases noise.
        draws: Their patients of all steps.
        widths: ``[K]`` places that each step gets.
        task: Sets the loss.
        mechanisms: Of each site; they differ in the divisor and the sampling probability only.
        noises: Each site's key-stream of noise, from its beginning.
        apart: See :func:`clipped_sums`.
        most_bytes: For what is made for several steps at once: noise, and where records lie.
    """
    common = mechanisms[0]
    scales = _scales(descent, mechanisms)
    mean = torch.empty_like(descent.theta)
    size, layout = network.num_parameters, descent.layout
    if layout is None:
        totals = _of_network(
            network, descent, stack, draws, widths=widths, task=task, clipping_norm=common.clipping_norm, apart=apart
        )
    else:
        totals = _of_chain(
            layout,
            descent,
            stack,
            draws,
            widths=widths,
            task=task,
            clipping_norm=common.clipping_norm,
            most_bytes=most_bytes,
        )
    at_once = max(1, min(common.steps_per_round, most_bytes // (8 * descent.num_sites * size)))
    for first in range(0, common.steps_per_round, at_once):
        number = min(at_once, common.steps_per_round - first)
        noise = step_noise(noises, size=size, num_steps=number, mechanisms=mechanisms, device=scales.device)
        by_step = noise.transpose(0, 1) if layout is None else layout.pack_steps(noise)
        for released, total in zip(by_step, totals, strict=False):  # the noise of these steps only
            torch.mul(released.add_(total), scales, out=mean)
            descent.step(mean)


def _scales(descent: Descent, mechanisms: Sequence[MechanismSpec]) -> Tensor:
    """From grid steps of a sum to units of a mean gradient, in the shape of the parameters."""
    of_sites = [grid_step(mechanism.clipping_norm) / mechanism.divisor for mechanism in mechanisms]
    scales = torch.tensor(of_sites, dtype=torch.float64).unsqueeze(1).to(descent.theta.device)
    if descent.layout is None:
        return scales
    return descent.layout.pack(scales.expand(-1, descent.theta.numel() // descent.num_sites))


def _of_network(
    network: StackedNetwork,
    descent: Descent,
    stack: Stack,
    draws: Draws,
    *,
    widths: Sequence[int],
    task: Objective,
    clipping_norm: float,
    apart: Apart,
) -> Iterator[Tensor]:
    """``[S, D]`` whole grid steps of each step, at the parameters of that moment."""
    for offset, width in enumerate(widths):
        places, owners = step_places(stack, draws, offset, width=width)
        yield clipped_sums(
            network,
            descent.theta,
            stack,
            places=places,
            owners=owners,
            task=task,
            clipping_norm=clipping_norm,
            apart=apart,
        )


def _of_chain(
    layout: ChainLayout,
    descent: Descent,
    stack: Stack,
    draws: Draws,
    *,
    widths: Sequence[int],
    task: Objective,
    clipping_norm: float,
    most_bytes: int,
) -> Iterator[Tensor]:
    """The same, packed; steps share their buffers, and those of like width all that is bound to them."""
    rounded = [-(-width // _ROWS) * _ROWS for width in widths]
    clipped = ClippedChain(
        layout,
        descent,
        stack,
        task=task,
        clipping_norm=clipping_norm,
        most_places=descent.num_sites * max(rounded),
    )
    for rows in laid_out(stack, draws.places, rounded, most_bytes=most_bytes):
        yield clipped.cut_sums(rows)


def step_noise(
    streams: Sequence[KeyStream],
    *,
    size: int,
    num_steps: int,
    mechanisms: Sequence[MechanismSpec],
    device: torch.device = _CPU,
) -> Tensor:
    """``[S, K, D]`` noise in whole grid steps: what :func:`federation.privacy.noise.grid_noise` gives, step after step.

    On an accelerator the last bits of a normal can differ, and a few of the numbers by one grid step with them.
    """
    even = size + size % 2
    noise = torch.empty((len(streams), num_steps, size), dtype=torch.float64, device=device)
    # On a core, so many steps at once that their numbers stay in its cache.
    at_once = max(1, num_steps if device.type == "cuda" and even <= LONGEST_BLOCK else LONGEST_BLOCK // even)
    at_once = min(at_once, num_steps)
    is_small = even <= LONGEST_BLOCK
    block = torch.empty((at_once, even) if is_small else (0,), dtype=torch.float64, device=device)
    spare = torch.empty((at_once, even // 2) if is_small else (0,), dtype=torch.float64, device=device)
    for own, stream, mechanism in zip(noise, streams, mechanisms, strict=True):
        scale = mechanism.noise_multiplier * 2.0**GRID_BITS
        for start in range(0, num_steps, at_once):
            steps = own[start : start + at_once]
            if is_small:
                normals = block[: len(steps)]
                words = uniform_words(stream, normals.numel()).to(device)
                write_normals(words.view(len(steps), even), out=normals, spare=spare[: len(steps)])
            else:
                normals = torch.from_numpy(standard_normal(size, generator=stream)).to(device).unsqueeze(0)
            torch.round(normals[:, :size].mul_(scale), out=steps)
    return noise
