"""What is compared: a round, a private step, what privacy costs besides, and the start of the command."""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.benchmarks.alternation import Comparison
from experiments.benchmarks.privacy_costs import privacy_comparisons
from experiments.benchmarks.secure_sums import secure_sum_comparisons
from experiments.benchmarks.workload import LEARNING_RATE, SEED, Workload
from experiments.engines.inline import InlineTransport
from federation.models.build import build_model
from federation.models.parameters import flatten, initial_parameters, load
from federation.privacy.randomness import seeded_streams
from federation.study.manifest import StudyManifest
from site_client.training import train_locally

Vector = NDArray[np.float32]


def start_model(workload: Workload, manifest: StudyManifest) -> nn.Module:
    """The study's model with its initial parameters."""
    model = build_model(manifest.model, task="binary", num_features=workload.num_features, num_outputs=1, private=False)
    load(model, initial_parameters(model, seed=manifest.initial_seed))
    return model


def ours_round(workload: Workload, manifest: StudyManifest) -> tuple[float, Vector]:
    """Rounds of the inline engine: agents, messages, folding, checkpoints. Making the folders does not count.

    Returns:
        Seconds of all rounds, and the final parameters.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        agents = workload.agents(manifest, folder)
        checkpoints = CheckpointStore(folder / "coordinator", study=manifest.digest)
        transport = InlineTransport({site: agent.handle for site, agent in agents.items()})
        started = time.perf_counter()
        result = run_study(
            manifest,
            transport,
            NullTracker(),
            checkpoints=checkpoints,
            clock=time.monotonic,
            on_round=lambda _: None,
        )
        return time.perf_counter() - started, result.parameters


def bare_round(workload: Workload, manifest: StudyManifest) -> tuple[float, Vector]:
    """The same steps as a bare PyTorch loop: no messages, no checks, nothing written.

    Returns:
        Seconds of all rounds, and the final parameters.
    """
    model = start_model(workload, manifest)
    tensors = {
        data.site: (torch.from_numpy(data.training.features), torch.from_numpy(data.training.outcomes))
        for data in workload.data
    }
    orders = {
        (site, epoch): torch.from_numpy(workload.order(site, epoch))
        for site in workload.sites
        for epoch in range(workload.rounds)
    }
    loss = nn.BCEWithLogitsLoss()
    started = time.perf_counter()
    for epoch in range(workload.rounds):
        total = torch.zeros(sum(parameter.numel() for parameter in model.parameters()))
        for site, (features, outcomes) in tensors.items():
            local = copy.deepcopy(model)
            optimiser = torch.optim.SGD(local.parameters(), lr=LEARNING_RATE)
            for rows in orders[site, epoch].split(workload.batch_size):
                optimiser.zero_grad()
                loss(local(features[rows])[:, 0], outcomes[rows]).backward()
                optimiser.step()
            total += nn.utils.parameters_to_vector(local.parameters()).detach()
        nn.utils.vector_to_parameters(total / workload.num_sites, model.parameters())
    return time.perf_counter() - started, flatten(model)


def mean_loss(workload: Workload, manifest: StudyManifest, parameters: Vector) -> float:
    """Mean training loss over all sites: both ways of a round must reach about the same."""
    model = start_model(workload, manifest)
    load(model, parameters)
    with torch.no_grad():
        losses = [
            nn.functional.binary_cross_entropy_with_logits(
                model(torch.from_numpy(data.training.features))[:, 0], torch.from_numpy(data.training.outcomes)
            ).item()
            for data in workload.data
        ]
    return float(np.mean(losses))


def local_training(workload: Workload, *, private: bool) -> Callable[[], None]:
    """One site's local steps of one round, private or plain, without anything around them."""
    manifest = workload.manifest(private=private)
    model = start_model(workload, manifest)
    site = workload.data[0]
    streams = seeded_streams(SEED, provenance="synthetic")

    def work() -> None:
        train_locally(
            model,
            site.training,
            task="binary",
            schedule=manifest.schedule,
            round_number=1,
            mechanism=manifest.mechanism(site.site) if private else None,
            streams=streams,
        )

    return work


def _command(*words: str) -> Callable[[], None]:
    def work() -> None:
        subprocess.run(words, check=True, capture_output=True)  # noqa: S603 - fixed words

    return work


def comparisons(workload: Workload) -> tuple[Comparison, ...]:
    """All of them, cheap to make: work is done when they are measured."""
    manifest = workload.manifest()
    cohortium = str(Path(sys.executable).with_name("cohortium"))
    wide = Workload(num_sites=1, batch_size=256, rounds=workload.rounds)
    return (
        Comparison(
            name="inline_round",
            question="a round of the inline engine / the same steps as a bare PyTorch loop",
            ours=lambda: ours_round(workload, manifest)[0],
            floor=lambda: bare_round(workload, manifest)[0],
            units=workload.rounds,
            unit="round",
        ),
        *(
            Comparison(
                name=f"private_step_{size.batch_size}",
                question=f"a DP-SGD step of about {size.batch_size} patients / a plain step of as many",
                ours=local_training(size, private=True),
                floor=local_training(size, private=False),
                units=size.local_steps,
                unit="step",
            )
            for size in (workload, wide)
        ),
        *privacy_comparisons(),
        *secure_sum_comparisons(),
        Comparison(
            name="start_up",
            question="cohortium --help / an empty Python program",
            ours=_command(cohortium, "--help"),
            floor=_command(sys.executable, "-c", "pass"),
            unit="start",
        ),
    )
