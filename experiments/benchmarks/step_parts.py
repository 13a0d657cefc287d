"""What a private step at a site is made of: each part by itself, in turns with the whole and with a plain step.

The parts call what :func:`site_client.training.train_locally` calls, on memory of the same sizes. Alone a part finds its data in
the caches more often than within a step: what the parts do not add up to is the remainder, with the Python between them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch

from experiments.benchmarks.alternation import Work, take_turns
from experiments.benchmarks.benches import Bench, Effort, Found
from experiments.benchmarks.parts_table import PARTS, figure_name
from experiments.benchmarks.private_steps import BATCH_SIZES, MODELS, WORDS, our_steps, plain_steps, step_workload
from experiments.benchmarks.records import Figure
from experiments.benchmarks.ways.given import empty_model
from experiments.benchmarks.workload import CLIPPING_NORM, LEARNING_RATE, SEED, Workload
from federation.errors import InternalError
from federation.models.losses import record_loss_gradients
from federation.models.parameters import flat_copy, flatten, initial_parameters, load
from federation.models.stacked.network import StackedNetwork, stacked_network
from federation.models.stacked.sinks import RecordGradients
from federation.privacy.keystream import KeyStream
from federation.privacy.noise import LONGEST_BLOCK, StepNoise, noisy_mean, write_normals, write_uniforms
from federation.privacy.randomness import seeded_streams
from federation.privacy.sampling import poisson_sample
from federation.privacy.summation import clipping_factors, cut_to_grid
from site_client.kernel_step import pass_length

_CALLED: Final = (
    "draw",
    "forward",
    "backward",
    "norms",
    "sums",
    "cut",
    "key_stream",
    "transform",
    "noise",
    "apply",
    "round",
)
_WITHIN_NOISE: Final = ("key_stream", "transform")


def part_benches() -> tuple[Bench, ...]:
    """One bench a model and batch size."""
    return tuple(
        Bench(
            name=f"step_parts_{model}_{size}",
            question=f"the parts of a DP-SGD step of about {size} patients, {WORDS[model]}, in plain SGD steps",
            run=partial(_run, model, size),
        )
        for model in MODELS
        for size in BATCH_SIZES
    )


def _run(model: str, size: int, effort: Effort) -> Found:
    workload = step_workload(model, size)
    ways = {"whole": our_steps(workload), "plain": plain_steps(workload), **part_works(workload)}
    taken = take_turns(ways, repetitions=effort.turns, units=workload.local_steps)
    words = f"of a DP-SGD step of about {size} patients, {WORDS[model]}, in plain SGD steps"
    return Found(
        figures=[
            Figure(
                name=figure_name(model, size, part),
                question=f"{PARTS[part]}, {words}",
                value=value,
                unit="plain steps",
            )
            for part, value in shares(taken).items()
        ]
    )


def shares(taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median over the turns of each part in plain steps of the same turn.

    Args:
        taken: Seconds of each turn: ``whole``, ``plain``, ``noise`` as a whole, and the other parts.
    """
    turns = [dict(zip(taken, values, strict=True)) for values in zip(*taken.values(), strict=True)]
    found: list[dict[str, float]] = []
    for turn in turns:
        inside = sum(turn[name] for name in _WITHIN_NOISE)
        parts = {name: turn[name] for name in _CALLED if name != "noise"}
        parts["release"] = max(0.0, turn["noise"] - inside)
        parts["remainder"] = max(0.0, turn["whole"] - sum(parts.values()))
        found.append({"whole": turn["whole"], **parts} | {"plain": turn["plain"]})
    return {name: statistics.median(turn[name] / turn["plain"] for turn in found) for name in PARTS}


@dataclass
class _Step:
    """A step's inputs, and what its parts hand to each other."""

    network: StackedNetwork
    theta: torch.Tensor
    features: torch.Tensor
    outcomes: torch.Tensor
    caches: list[object]
    outputs: torch.Tensor
    gradients: RecordGradients

    def forward(self) -> None:
        values, self.caches = self.features, []
        for layer in self.network.layers:
            values, cache = layer.forward(self.theta, values)
            self.caches.append(cache)
        self.outputs = values

    def backward(self) -> None:
        sink, first = RecordGradients(), self.network.first_with_parameters
        gradient: torch.Tensor | None = record_loss_gradients("binary", self.outputs, self.outcomes)
        for number in range(len(self.caches) - 1, first - 1, -1):
            if gradient is None:
                raise InternalError("expected a gradient from every layer but the first")
            layer = self.network.layers[number]
            gradient = layer.backward(self.theta, self.caches[number], gradient, sink, wants_input=number > first)
        self.gradients = sink


def part_works(workload: Workload) -> dict[str, Work]:
    """Each part that can be called by itself, as often as there are steps; and ``noise`` as a whole."""
    model = empty_model(workload)
    load(model, initial_parameters(model, seed=0))
    _, flat = flat_copy(model)
    network, site = stacked_network(model), workload.data[0].training
    if network is None:
        raise InternalError("expected a network that the kernels cover")
    records = min(pass_length(workload.batch_size, network, workload.num_features), workload.num_patients)
    step = _Step(
        network,
        flat.unsqueeze(0),
        torch.from_numpy(site.in_memory[:records].copy()).unsqueeze(0),
        torch.from_numpy(site.known_outcomes[:records].copy()).unsqueeze(0),
        caches=[],
        outputs=torch.empty(0),
        gradients=RecordGradients(),
    )
    step.forward()
    step.backward()
    total = torch.zeros((1, network.num_parameters), dtype=torch.float64)
    ones = torch.ones((1, records), dtype=torch.float64)
    released = torch.zeros(network.num_parameters)

    def norms() -> None:
        clipping_factors(step.gradients.squared_norms().sqrt_(), CLIPPING_NORM)

    parts: dict[str, Callable[[], object]] = {
        "draw": _draw(workload, step),
        "forward": step.forward,
        "backward": step.backward,
        "norms": norms,
        "sums": lambda: step.gradients.add_weighted(ones, total, is_first=True),
        "cut": lambda: cut_to_grid(total, clipping_norm=CLIPPING_NORM),
        "apply": lambda: flat.add_(released, alpha=-LEARNING_RATE),
    }
    # Numbers that stay what they are: the same memory is summed and cut in every turn.
    works = {name: _repeated(part, workload.local_steps) for name, part in parts.items()}

    def of_round() -> None:
        copied, _ = flat_copy(model)
        np.isfinite(flatten(copied)).all()
        streams = seeded_streams(SEED, provenance="synthetic").child("private", 1)
        for name in ("sampling", "noise"):
            KeyStream.from_streams(streams, name)

    return works | _noise_works(workload, network.num_parameters) | {"round": of_round}


def _repeated(part: Callable[[], object], steps: int) -> Work:
    def work() -> None:
        for _ in range(steps):
            part()

    return work


def _draw(workload: Workload, step: _Step) -> Callable[[], object]:
    numerator = workload.manifest().mechanism("site-0").sampling_numerator
    stream = KeyStream(bytes(range(32)))
    site, rows = workload.data[0].training, step.features[0].numpy().copy()
    features = site.in_memory

    def draw() -> None:
        drawn = poisson_sample(site.num_patients, numerator=numerator, generator=stream)[: len(rows)]
        np.take(features, drawn, axis=0, out=rows[: len(drawn)], mode="clip")
        rows[len(drawn) :] = 0.0

    return draw


def _noise_works(workload: Workload, size: int) -> dict[str, Work]:
    """The noise of a call's steps as a whole, and its two parts in pieces as large."""
    mechanism, stream = workload.manifest().mechanism("site-0"), KeyStream(bytes(32))
    nothing, even = np.zeros(size), size + size % 2
    rows = max(1, min(workload.local_steps, LONGEST_BLOCK // even))
    length = min(even, LONGEST_BLOCK)
    pieces = -(-workload.local_steps * even // (rows * length))
    uniforms = torch.empty((rows, length), dtype=torch.float64)
    normals, spare = torch.empty_like(uniforms), torch.empty((rows, length // 2), dtype=torch.float64)
    write_uniforms(stream, uniforms)

    def noise() -> None:
        ahead = StepNoise(stream, size=size, num_steps=workload.local_steps)
        for _ in range(workload.local_steps):
            noisy_mean(nothing, mechanism=mechanism, generator=ahead)

    return {
        "noise": noise,
        "key_stream": _repeated(lambda: write_uniforms(stream, uniforms), pieces),
        "transform": _repeated(lambda: write_normals(uniforms, out=normals, spare=spare), pieces),
    }
