"""A private step at one site, on one thread: beside a plain step of as many patients, and beside Opacus' two ways.

Ours is :func:`site_client.training.train_locally` as an agent calls it: draw, gradients, clipping, secure noise and step, and its
checks, which are shared by the steps of a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.benchmarks.alternation import Work, of_both, take_turns
from experiments.benchmarks.benches import Bench, Effort, Found
from experiments.benchmarks.records import Figure, Measurement
from experiments.benchmarks.ways.bare_loop import local_steps
from experiments.benchmarks.ways.given import empty_model
from experiments.benchmarks.workload import CLIPPING_NORM, CNN, CNN_FEATURES, SEED, SMALL_MLP, WIDE_MLP, Workload
from federation.models.losses import record_losses
from federation.models.parameters import initial_parameters, load
from federation.models.spec import ModelSpec
from federation.privacy.keystream import KeyStream
from federation.privacy.noise import StepNoise, noisy_mean
from federation.privacy.randomness import seeded_streams
from site_client.dp_step import PatientGradients
from site_client.training import train_locally

BATCH_SIZES: Final = (64, 256, 1024)
MODELS: Final[dict[str, tuple[ModelSpec, int, int]]] = {
    "mlp": (SMALL_MLP, 30, 16),
    "wide_mlp": (WIDE_MLP, 30, 3),
    "cnn": (CNN, CNN_FEATURES, 3),
}
"""Name to model, features, and steps of one call."""
_FEWEST_PATIENTS: Final = 2000
_CHECKED_PATIENTS: Final = 64
_FINE_GRID_BITS: Final = 40
_SLOW_SECONDS: Final = 5.0
"""Of one turn. Opacus' hooks take half a minute for a million parameters and 1,024 patients."""
WORDS: Final = {"mlp": "MLP 30-64-1", "wide_mlp": "MLP 30-1000-1000-1", "cnn": "CNN of 105,281 parameters"}


@dataclass(frozen=True)
class _Step:
    """A model and a batch size."""

    model: str
    batch_size: int

    @property
    def name(self) -> str:
        return f"private_step_{self.model}_{self.batch_size}"

    @property
    def workload(self) -> Workload:
        return step_workload(self.model, self.batch_size)


def step_workload(model: str, batch_size: int) -> Workload:
    """One round of a few private steps at one site.

    Args:
        model: Of :data:`MODELS`.
        batch_size: Patients drawn in the mean.
    """
    spec, features, steps = MODELS[model]
    return Workload(
        num_sites=1,
        num_patients=max(_FEWEST_PATIENTS, 4 * batch_size),
        num_features=features,
        model=spec,
        batch_size=batch_size,
        rounds=1,
        steps=steps,
        private=True,
    )


def step_benches() -> tuple[Bench, ...]:
    """One bench a model and batch size, and one for the error of the gradients."""
    steps = [_Step(model, size) for model in MODELS for size in BATCH_SIZES]
    return (
        *(
            Bench(
                name=step.name,
                question=f"a DP-SGD step of about {step.batch_size} patients, {WORDS[step.model]} / a plain SGD step, and peers",
                run=partial(_run, step),
            )
            for step in steps
        ),
        Bench(
            name="private_gradient_error",
            question="how far the clipped sum of gradients is from an explicit loop over patients",
            run=lambda _: Found(figures=[gradient_error(model) for model in MODELS]),
        ),
    )


def _run(step: _Step, effort: Effort) -> Found:
    workload = step.workload
    ways = {"ours": our_steps(workload), "plain": plain_steps(workload), "noise": noise_of_steps(workload)}
    ways |= {"opacus": opacus_steps(workload, ghost=False), "opacus_ghost": opacus_steps(workload, ghost=True)}
    taken = take_turns(ways, repetitions=effort.turns, units=workload.local_steps, slow_seconds=_SLOW_SECONDS)
    ours = f"a DP-SGD step of about {step.batch_size} patients, {WORDS[step.model]}"
    pairs = (
        (step.name, f"{ours} / a plain SGD step", "ours", "plain"),
        (
            f"{step.name}_noise",
            f"the secure noise of that step alone, {WORDS[step.model]} / a plain SGD step",
            "noise",
            "plain",
        ),
        (f"{step.name}_opacus", f"{ours} / the same with Opacus' hooks", "ours", "opacus"),
        (f"{step.name}_opacus_ghost", f"{ours} / the same with Opacus' ghost clipping", "ours", "opacus_ghost"),
    )
    return Found(
        measurements=[
            Measurement(name=name, question=words, unit="step", ours_seconds=ours_seconds, floor_seconds=floor_seconds)
            for name, words, one, other in pairs
            for ours_seconds, floor_seconds in [of_both(taken, one, other)]
        ]
    )


def _start_model(workload: Workload) -> nn.Module:
    model = empty_model(workload)
    load(model, initial_parameters(model, seed=0))
    return model


def our_steps(workload: Workload) -> Work:
    """One site's private steps of one round."""
    manifest, model, site = workload.manifest(), _start_model(workload), workload.data[0]
    streams = seeded_streams(SEED, provenance="synthetic")

    def work() -> None:
        train_locally(
            model,
            site.training,
            task="binary",
            schedule=manifest.schedule,
            round_number=1,
            mechanism=manifest.mechanism(site.site) if workload.private else None,
            streams=streams,
        )

    return work


def plain_steps(workload: Workload) -> Work:
    """As many steps of plain SGD in bare PyTorch, on batches of exactly that many patients."""
    model, site = _start_model(workload), workload.data[0].training
    features, outcomes = torch.from_numpy(site.features), torch.from_numpy(site.outcomes)
    order = torch.from_numpy(workload.order("site-0", 0))
    rows = torch.cat([order] * -(-workload.local_steps * workload.batch_size // len(order)))
    rows = rows[: workload.local_steps * workload.batch_size]

    def work() -> None:
        local_steps(model, features, outcomes, rows, batch_size=workload.batch_size)

    return work


def noise_of_steps(workload: Workload) -> Work:
    """The noise of as many steps, from our cryptographic stream, and the division."""
    mechanism = workload.manifest().mechanism("site-0")
    size = sum(parameter.numel() for parameter in _start_model(workload).parameters())
    generator = seeded_streams(SEED, provenance="synthetic").stream("noise")
    nothing = np.zeros(size)

    def work() -> None:
        noise = StepNoise(KeyStream.from_generator(generator), size=size, num_steps=workload.local_steps)
        for _ in range(workload.local_steps):
            noisy_mean(nothing, mechanism=mechanism, generator=noise)

    return work


def opacus_steps(workload: Workload, *, ghost: bool) -> Work:
    """As many private steps with Opacus, hooks or ghost clipping, wrapped when they are first measured."""
    site = workload.data[0].training
    features, outcomes = torch.from_numpy(site.features), torch.from_numpy(site.outcomes)
    made: list[Callable[[torch.Tensor, torch.Tensor], None]] = []

    def work() -> None:
        from experiments.benchmarks.ways.opacus_loop import ghost_step, hooked_step, private_epoch

        if not made:
            make = ghost_step if ghost else hooked_step
            made.append(make(_start_model(workload), batch_size=workload.batch_size))
        private_epoch(
            made[0],
            features,
            outcomes,
            steps=workload.local_steps,
            probability=workload.sampling_probability,
        )

    return work


def gradient_error(name: str) -> Figure:
    """Largest difference of our clipped sum from an explicit loop over patients, relative to the largest coordinate."""
    spec, features, _ = MODELS[name]
    workload = Workload(
        num_sites=1, num_patients=_CHECKED_PATIENTS, num_features=features, model=spec, private=True, rounds=1
    )
    model, training = _start_model(workload), workload.data[0].training
    wanted = looped_sum(model, workload)
    # A finer grid than in training: what is measured is the gradients, not the public rounding of what is released.
    with PatientGradients(
        model, training, task="binary", pass_records=_CHECKED_PATIENTS, grid_bits=_FINE_GRID_BITS
    ) as patients:
        found = patients.clipped_sum(np.arange(_CHECKED_PATIENTS), clipping_norm=CLIPPING_NORM)
    difference = np.abs(found * (CLIPPING_NORM * 2.0**-_FINE_GRID_BITS) - wanted).max() / np.abs(wanted).max()
    return Figure(
        name=f"private_gradient_error_{name}",
        question=f"largest error of the clipped sum of 64 patients' gradients, {WORDS[name]}, relative to the largest coordinate",
        value=float(difference),
        unit="relative",
    )


def looped_sum(model: nn.Module, workload: Workload) -> NDArray[np.float64]:
    """The definition: one patient at a time, in float64."""
    exact = empty_model(workload).double()
    exact.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    parameters, training = list(exact.parameters()), workload.data[0].training
    total = np.zeros(sum(parameter.numel() for parameter in parameters))
    for features, outcome in zip(training.in_memory, training.known_outcomes, strict=True):
        outputs = exact(torch.from_numpy(features).double()[None])
        loss = record_losses("binary", outputs, torch.tensor([float(outcome)], dtype=torch.float64)).sum()
        gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, parameters)]).numpy()
        total += gradient * min(1.0, CLIPPING_NORM / float(np.linalg.norm(gradient)))
    return total
