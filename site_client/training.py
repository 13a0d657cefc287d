"""Local training: plain, or private at the level of the patient, through one loop.

Only where the gradient comes from differs. Plain: the mean loss of a mini-batch of patients. Private: Poisson draw,
per-record gradients summed by patient, clipping, noise, public divisor; :class:`MechanismSpec` is the one source of all
its constants. Correction and optimiser come after, as post-processing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from federation.algorithms.fedavg import LocalRound
from federation.errors import CohortTooSmallError, InternalError, ModelRefusedError, NonFiniteModelError
from federation.models.losses import batch_loss
from federation.models.parameters import Vector, flat_copy, flatten
from federation.models.stacked.network import StackedNetwork, stacked_network
from federation.models.task_terms import Objective
from federation.privacy.accounting import round_event
from federation.privacy.events import PrivacyEvent
from federation.privacy.independence import BATCH_NORM, check_independence, check_memory, memory_of
from federation.privacy.keystream import KeyStream
from federation.privacy.noise import StepNoise, noisy_mean
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import RandomStreams
from federation.privacy.sampling import poisson_sample
from federation.study.schedule import OptimiserSpec, Schedule
from site_client.augmentation import Augmentation
from site_client.patient_gradients import patient_gradients
from site_client.patients import PatientDataset

Correction = Callable[[Tensor, Tensor], Tensor]
"""(gradient ``[D]``, parameters ``[D]``) to corrected gradient ``[D]``: what FedProx and SCAFFOLD add."""

_Gradients = Iterator[Tensor]
"""One flat gradient ``[trainable]`` for each step, at the model's parameters of that moment."""


@dataclass(frozen=True)
class LocalTraining:
    """What one round of local training gave.

    Args:
        parameters: ``[D]`` float32 after the last step.
        num_steps: Optimiser steps done: the manifest's number, never one that depends on the records.
        event: What the mechanism did; ``None`` without privacy.
    """

    parameters: Vector = field(repr=False)
    num_steps: int
    event: PrivacyEvent | None

    def as_round(self, start: NDArray[np.floating], *, learning_rate: float) -> LocalRound:
        """What an algorithm may know of it.

        Args:
            start: ``[D]`` the round's global parameters.
            learning_rate: Of the local steps.
        """
        update = self.parameters.astype(np.float64) - start.astype(np.float64)
        return LocalRound(update=update, num_steps=self.num_steps, learning_rate=learning_rate)


def train_locally(  # noqa: PLR0913 - the parts of a round, all keyword-only
    model: nn.Module,
    dataset: PatientDataset,
    *,
    task: Objective,
    schedule: Schedule,
    round_number: int,
    mechanism: MechanismSpec | None,
    streams: RandomStreams,
    correction: Correction | None = None,
    pass_records: int | None = None,
) -> LocalTraining:
    """Train for one round.

    Args:
        model: Carries the start parameters; is not changed.
        dataset: The site's training patients.
        task: Sets the loss.
        schedule: Steps, batch size and optimiser.
        round_number: From 1; sets the learning rate and the random streams.
        mechanism: Constants of private training; ``None`` trains without privacy.
        streams: Of this site and study. In private training they must be secret, and must never serve the same round
            twice with other parameters: equal noise would cancel.
        correction: What the algorithm adds to each gradient, after noise.
        pass_records: Records of one private pass through the model, a public number; ``None``: about as many as patients
            are drawn. Changes time and memory, not the guarantee.

    Raises:
        CohortTooSmallError: If there is no patient and training is not private. Private training then releases pure
            noise, as it may for the neighbouring data set with one patient.
        ModelRefusedError: If training is private and the model mixes patients.
        NonFiniteModelError: If training diverged.
    """
    working, theta = flat_copy(model)
    working.train()
    augmentation = Augmentation(dataset, schedule.augmentation, streams.child("augmented", round_number))
    dataset = augmentation.dataset
    if mechanism is None:
        event = None
        gradients = _plain_gradients(
            working, augmentation, task=task, schedule=schedule, round_number=round_number, streams=streams
        )
    else:
        # The event comes before the first noise is drawn: a crash later must not leave an uncounted release.
        network = stacked_network(working)
        event = _admit(working, dataset, network=network, mechanism=mechanism, schedule=schedule)
        gradients = _private_gradients(
            working,
            augmentation,
            network=network,
            task=task,
            theta=theta,
            mechanism=mechanism,
            streams=streams.child("private", round_number),
            pass_records=pass_records,
        )
    memory = memory_of(working)
    _descend(working, theta, gradients, schedule=schedule, round_number=round_number, correction=correction)
    if mechanism is not None:
        check_memory(working, memory)  # the trial in _admit cannot try every record and number of records
    parameters = _finite(flatten(working), round_number)
    return LocalTraining(parameters=parameters, num_steps=schedule.local_steps, event=event)


def _admit(
    model: nn.Module,
    dataset: PatientDataset,
    *,
    network: StackedNetwork | None,
    mechanism: MechanismSpec,
    schedule: Schedule,
) -> PrivacyEvent:
    """Check that what will run is what is accounted, and say what that is."""
    if mechanism.steps_per_round != schedule.local_steps:
        raise InternalError(
            f"expected {mechanism.steps_per_round} accounted steps a round, got {schedule.local_steps} scheduled"
        )
    if network is None:  # covered layers treat every record alone by construction
        check_independence(model, (dataset.features.shape[1],))
    return round_event(mechanism)


def _finite(parameters: Vector, round_number: int) -> Vector:
    if not np.isfinite(parameters).all():
        raise NonFiniteModelError(
            f"expected finite parameters after local training in round {round_number}, got NaN or infinity",
            remedy="lower schedule.optimiser.learning_rate",
        )
    return parameters


def _private_gradients(
    model: nn.Module,
    augmentation: Augmentation,
    *,
    network: StackedNetwork | None,
    task: Objective,
    theta: Tensor,
    mechanism: MechanismSpec,
    streams: RandomStreams,
    pass_records: int | None,
) -> _Gradients:
    """Noisy means of clipped patient gradients, one for each accounted step."""
    dataset = augmentation.dataset
    sampling = KeyStream.from_streams(streams, "sampling")
    noise = StepNoise(KeyStream.from_streams(streams, "noise"), size=theta.numel(), num_steps=mechanism.steps_per_round)
    with patient_gradients(
        model, dataset, task=task, mechanism=mechanism, network=network, theta=theta, pass_records=pass_records
    ) as patients:
        for _ in range(mechanism.steps_per_round):
            drawn = poisson_sample(dataset.num_patients, numerator=mechanism.sampling_numerator, generator=sampling)
            augmentation.next_step()
            total = patients.clipped_sum(drawn, clipping_norm=mechanism.clipping_norm)
            released = noisy_mean(total, mechanism=mechanism, generator=noise)
            yield torch.from_numpy(released.astype(np.float32, copy=False))


def _plain_gradients(
    model: nn.Module,
    augmentation: Augmentation,
    *,
    task: Objective,
    schedule: Schedule,
    round_number: int,
    streams: RandomStreams,
) -> _Gradients:
    """Gradients of the mean loss over the records of a mini-batch of patients."""
    dataset = augmentation.dataset
    if dataset.num_patients == 0:
        raise CohortTooSmallError("expected at least one training patient, got none")
    parameters = list(model.parameters())
    for patients in _mini_batches(dataset.num_patients, schedule=schedule, round_number=round_number, streams=streams):
        augmentation.next_step()
        batch = dataset.patients(patients)
        _check_batch_norm(model, batch.num_records)
        outputs = model(torch.from_numpy(batch.in_memory))
        loss = batch_loss(task, outputs, torch.from_numpy(batch.known_outcomes))
        yield _flat(torch.autograd.grad(loss, parameters))


def _mini_batches(
    num_patients: int, *, schedule: Schedule, round_number: int, streams: RandomStreams
) -> Iterator[NDArray[np.int64]]:
    """Patients of each step of a round, without replacement within an epoch.

    Epochs go on from round to round, as FLamby's ``DataLoaderWithMemory``: every patient is seen equally often. A last,
    smaller batch is kept. The order of epoch e depends on its number only, so a resumed study continues where it
    stopped.
    """
    batches = -(-num_patients // schedule.batch_size)
    first = (round_number - 1) * schedule.local_steps
    epoch, order = -1, np.zeros(0, dtype=np.int64)
    for step in range(first, first + schedule.local_steps):
        if step // batches != epoch:
            epoch = step // batches
            order = streams.stream("shuffle", epoch).permutation(num_patients)
        start = (step % batches) * schedule.batch_size
        yield np.sort(order[start : start + schedule.batch_size])


def _check_batch_norm(model: nn.Module, num_records: int) -> None:
    if num_records == 1 and any(isinstance(layer, BATCH_NORM) for layer in model.modules()):
        raise ModelRefusedError(
            "expected at least two records in every batch for batch normalisation, got one",
            remedy="choose another schedule.batch_size, or normalisation 'layer'",
        )


def _descend(
    model: nn.Module,
    theta: Tensor,
    gradients: _Gradients,
    *,
    schedule: Schedule,
    round_number: int,
    correction: Correction | None,
) -> None:
    """One optimiser step for each gradient; the optimiser starts afresh every round."""
    step = _optimiser(theta, schedule.optimiser, schedule.learning_rate_of(round_number))
    for gradient in gradients:
        step(gradient if correction is None else _corrected(model, gradient, correction))


def _optimiser(theta: Tensor, spec: OptimiserSpec, rate: float) -> Callable[[Tensor], object]:
    """What steps the parameters by a gradient. A plain step is the one operation that ``torch.optim.SGD`` does, too."""
    optimiser: torch.optim.Optimizer
    match spec.kind:
        case "sgd":
            if spec.momentum == 0 and spec.weight_decay == 0:
                return lambda gradient: theta.add_(gradient, alpha=-rate)
            optimiser = torch.optim.SGD([theta], lr=rate, momentum=spec.momentum, weight_decay=spec.weight_decay)
        case "adam":
            betas = (spec.beta_1, spec.beta_2)
            optimiser = torch.optim.Adam([theta], lr=rate, betas=betas, weight_decay=spec.weight_decay)

    def step(gradient: Tensor) -> None:
        theta.grad = gradient
        optimiser.step()

    return step


def _corrected(model: nn.Module, gradient: Tensor, correction: Correction) -> Tensor:
    """The algorithm sees the whole flat vector; running statistics have no gradient, and get none."""
    values = torch.from_numpy(flatten(model))
    padded = torch.zeros_like(values)
    padded[: gradient.numel()] = gradient
    return correction(padded, values)[: gradient.numel()]


def _flat(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
