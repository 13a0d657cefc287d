"""Which records go through the network in each step of a round, and how they are laid out for it.

Axis names: S sites, K steps, B places for records of a step, P places of all sites of a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from experiments.engines.batched.stacking import IndexArray, SiteRows, Stack, placed
from federation.privacy.keystream import KeyStream
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import RandomStreams
from federation.privacy.sampling import poisson_sample
from federation.study.schedule import Schedule

WHOLE_VECTORS: Final = 32
"""Values. What is left of a vector is computed by other code, whose last bits differ. So that a site's numbers do not hang on
the sites beside it, functions get whole vectors of the widest instructions only, two at a time."""
_MOST_WORDS: Final = 2**18
"""Key-stream words of one site's draws that are made at once: 2 MiB."""
_BYTES_OF_A_PLACE: Final = 16
"""That is laid out: its row number, outcome, share."""
MOST_BYTES: Final = 32 * 2**20
"""For what is made for several steps at once, each: noise, rows of records, features. More makes nothing faster."""


@dataclass(frozen=True)
class Draws:
    """The records of each step.

    Args:
        places: ``[S, K, B]`` rows of the stack, filled from the first place.
        owners: ``[S, K, B]`` position of each row's patient among the drawn, -1 in an empty place; ``None`` if every patient
            has one record, or nobody asks.
    """

    places: IndexArray
    owners: IndexArray | None = None

    def placed_in(self, width: int, *, empty_row: int) -> Draws:
        """The same with so many places, at least as many as are filled."""
        owners = None if self.owners is None else _fitted(self.owners, width, fill=-1)
        return Draws(_fitted(self.places, width, fill=empty_row), owners)


@dataclass(frozen=True)
class StepRows:
    """The records of one step, site after site, as whole vectors.

    Args:
        width: B, places of each site.
        chosen: ``[P]`` rows of the stack: S B, and empty ones up to whole vectors.
        outcomes: ``[P]``.
        shares: ``[P, 1]`` one over the records of the site's step; zero in an empty place.
    """

    width: int
    chosen: Tensor
    outcomes: Tensor
    shares: Tensor


def whole_vectors(number: int) -> int:
    """The next whole number of vectors, in values."""
    return -(-number // WHOLE_VECTORS) * WHOLE_VECTORS


def draw_batches(stack: Stack, *, schedule: Schedule, round_number: int, streams: Sequence[RandomStreams]) -> Draws:
    """The mini-batches of all sites of a stack, those of :mod:`site_client.training`.

    Args:
        stack: The sites' records.
        schedule: Steps and batch size.
        round_number: From 1.
        streams: Of each site's training.
    """
    chosen = [
        _rows_of_steps(rows, schedule=schedule, round_number=round_number, streams=own)
        for rows, own in zip(stack.sites, streams, strict=True)
    ]
    return Draws(
        placed(
            [rows for rows, _ in chosen],
            [steps for _, steps in chosen],
            num_steps=schedule.local_steps,
            empty_row=stack.empty_row,
        )
    )


def draw_patients(
    stack: Stack, mechanisms: Sequence[MechanismSpec], samplers: Sequence[KeyStream], *, num_steps: int
) -> Draws:
    """Poisson draws of all sites for some steps."""
    rows: list[IndexArray] = []
    owners: list[IndexArray] = []
    steps: list[IndexArray] = []
    for site, mechanism, sampler in zip(stack.sites, mechanisms, samplers, strict=True):
        step_of_patient, patients = _sampled(len(site.first), mechanism, sampler, num_steps=num_steps)
        own, of_patient = site.of(patients)
        rows.append(own)
        owners.append(of_patient)
        steps.append(step_of_patient[of_patient])
    places = placed(rows, steps, num_steps=num_steps, empty_row=stack.empty_row)
    return Draws(places, None if stack.is_single else placed(owners, steps, num_steps=num_steps, empty_row=-1))


def laid_out(
    stack: Stack, places: IndexArray, widths: Sequence[int], *, most_bytes: int = MOST_BYTES
) -> Iterator[StepRows]:
    """The steps one after another, each with its own number of places.

    Args:
        stack: The sites' records.
        places: ``[S, K, B]``.
        widths: ``[K]`` places of each step, at least as many as are filled.
        most_bytes: For what is laid out at once; a step at least.
    """
    at_once = max(1, most_bytes // _BYTES_OF_A_PLACE // max(1, len(places) * max(widths)))
    for first in range(0, len(widths), at_once):
        some = np.array(widths[first : first + at_once])
        found: dict[int, StepRows] = {}
        for width in np.unique(some).tolist():
            numbers = np.flatnonzero(some == width)
            steps = _fitted(places[:, first + numbers], width, fill=stack.empty_row)
            found |= zip(numbers.tolist(), _of_width(stack, steps), strict=True)
        yield from (found[number] for number in range(len(some)))


def _of_width(stack: Stack, places: IndexArray) -> Iterator[StepRows]:
    num_sites, num_steps, width = places.shape
    filled = places != stack.empty_row
    counts = np.maximum(1, filled.sum(axis=2, keepdims=True)).astype(np.float32)
    size = num_sites * width
    chosen = np.full((num_steps, whole_vectors(size)), stack.empty_row)
    shares = np.zeros(chosen.shape, dtype=np.float32)
    chosen[:, :size].reshape(num_steps, num_sites, width)[:] = places.transpose(1, 0, 2)
    shares[:, :size].reshape(num_steps, num_sites, width)[:] = (filled / counts).transpose(1, 0, 2)
    rows = torch.from_numpy(chosen).to(stack.device)
    outcomes = stack.outcomes.index_select(0, rows.view(-1)).view(rows.shape)
    weights = torch.from_numpy(shares).to(stack.device).unsqueeze(2)
    for own, their, weight in zip(rows.unbind(), outcomes.unbind(), weights.unbind(), strict=True):
        yield StepRows(width, own, their, weight)


def _fitted(values: IndexArray, width: int, *, fill: int) -> IndexArray:
    if width <= values.shape[2]:
        return values[:, :, :width]
    wide = np.full((*values.shape[:2], width), fill)
    wide[:, :, : values.shape[2]] = values
    return wide


def _sampled(
    num_patients: int, mechanism: MechanismSpec, sampler: KeyStream, *, num_steps: int
) -> tuple[IndexArray, IndexArray]:
    """Step and patient of everybody who is drawn, step after step."""
    at_once = max(1, _MOST_WORDS // max(1, num_patients))
    steps: list[IndexArray] = []
    patients: list[IndexArray] = []
    for first in range(0, num_steps, at_once):
        number = min(at_once, num_steps - first)
        found = poisson_sample(num_patients * number, numerator=mechanism.sampling_numerator, generator=sampler)
        steps.append(first + found // max(1, num_patients))
        patients.append(found % max(1, num_patients))
    return np.concatenate(steps), np.concatenate(patients)


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
