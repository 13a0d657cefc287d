"""Our way: a real study over one simulation engine, with its coordinator, folding and checkpoints."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path
from typing import Final

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.direct_rounds import DirectSites
from aggregator.tracking import NullTracker
from aggregator.transport import Transport
from experiments.benchmarks.ways.given import Given
from experiments.benchmarks.workload import SEED, agents_of, patients_of
from experiments.engines.batched.coverage import reason_against_batching
from experiments.engines.batched.run import run_batched
from experiments.engines.inline import InlineTransport
from experiments.settings import BatchedEngine
from federation.errors import ConfigurationError, InternalError
from federation.models.parameters import Vector
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult, StudyResult
from site_client.patients import SiteData

_Coordinate = Callable[[Transport | DirectSites, CheckpointStore], StudyResult]

ENGINES: Final = ("inline", "batched")
BEST_ENGINE: Final = "batched"
"""The engine that is measured against other systems."""


def ours_round(given: Given, engine: str) -> tuple[Vector, list[float], int]:
    """All rounds of the study. Making the sites' folders does not count.

    Args:
        given: The work.
        engine: ``inline`` or ``batched``; the batched one takes as many workers as it does by default.

    Returns:
        The final parameters, when each round ended, and the number of workers.

    Raises:
        ConfigurationError: If there is no such engine.
        InternalError: If the engine would leave the work to another.
    """
    if engine not in ENGINES:
        raise ConfigurationError(f"expected an engine among {ENGINES}, got {engine!r}")
    data = tuple(
        SiteData(site=site, training=patients_of(features, outcomes), test=patients_of(features[:1], outcomes[:1]))
        for site, features, outcomes in zip(given.workload.sites, given.features, given.outcomes, strict=True)
    )
    manifest = given.workload.manifest()
    ends: list[float] = []
    workers: list[int] = []

    def after(result: RoundResult) -> None:
        ends.append(time.perf_counter())
        if result.round_number == 1:  # its time does not count
            workers.append(len(active_children()))

    def coordinate(sites: Transport | DirectSites, checkpoints: CheckpointStore) -> StudyResult:
        return run_study(
            manifest,
            sites,
            NullTracker(),
            checkpoints=checkpoints,
            clock=time.monotonic,
            on_round=after,
        )

    with tempfile.TemporaryDirectory() as name:
        run = _batched if engine == "batched" else _inline
        result = run(manifest, data, Path(name), coordinate)
    return result.parameters, ends, workers[0]


def _inline(manifest: StudyManifest, data: tuple[SiteData, ...], folder: Path, coordinate: _Coordinate) -> StudyResult:
    """Agents, messages, ledgers and a checkpoint every round."""
    agents = agents_of(data, manifest, folder)
    checkpoints = CheckpointStore(folder / "coordinator", study=manifest.digest)
    return coordinate(InlineTransport({site: agent.handle for site, agent in agents.items()}), checkpoints)


def _batched(manifest: StudyManifest, data: tuple[SiteData, ...], folder: Path, coordinate: _Coordinate) -> StudyResult:
    """One tensor program; rounds that take milliseconds share a checkpoint."""
    reason = reason_against_batching(manifest)
    if reason is not None:
        raise InternalError(f"expected work that the batched engine covers, got {reason}")
    engine = BatchedEngine(kind="batched")
    return run_batched(manifest, data, coordinate, engine=engine, seed=SEED, folder=folder)
