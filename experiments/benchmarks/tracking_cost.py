"""What tracking costs a round: writing its record to the outbox, beside the round itself. Delivery is another process's work.

Where a round is committed by itself, so is its record; in the batched engine the rounds of two seconds are recorded together.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.delivery_process import NoCourier
from aggregator.direct_rounds import DirectSites
from aggregator.outbox import Outbox
from aggregator.outbox_tracker import OutboxTracker
from aggregator.run_records import round_record
from aggregator.tracking import NullTracker, Tracker, TrackingTarget
from experiments.benchmarks.alternation import Beside, Comparison
from experiments.benchmarks.workload import SEED, Workload, agents_of
from experiments.engines.batched.run import run_batched
from experiments.engines.inline import InlineTransport
from experiments.settings import BatchedEngine
from federation.errors import InternalError
from federation.study.result import RoundResult, StudyResult

if TYPE_CHECKING:
    from federation.study.manifest import StudyManifest

TRACKING: Final = "tracking_round"
_METRICS: Final = ("auroc", "accuracy", "brier", "log_loss", "calibration_slope", "calibration_intercept")
_BATCHED_ROUNDS: Final = 300
"""So many that they are recorded more than once."""


def tracking_comparison(workload: Workload | None = None) -> Comparison:
    """Recording a round of ten sites, durably, beside the round in the inline engine without tracking.

    Args:
        workload: Of the round; ``None``: ten sites of 2,000 patients.
    """
    work = Workload() if workload is None else workload
    return Comparison(
        name=TRACKING,
        question="recording a round in the outbox / the round itself, inline engine, no tracking",
        ours=lambda: _recorded(work),
        floor=lambda: _trained(work),
        units=work.rounds,
        unit="round",
        beside=(
            Beside(
                name=f"{TRACKING}_floor",
                question="recording a round in the outbox / writing as many bytes to a file and waiting for the disk",
                work=lambda: _written(work),
            ),
            Beside(
                name=f"{TRACKING}_mlflow",
                question="recording a round in the outbox / sending it to MLflow's database at once, as the delivery does later",
                work=lambda: _sent(work),
            ),
        ),
    )


def batched_tracking_comparison(workload: Workload | None = None) -> Comparison:
    """Recording the rounds of a batched simulation while it runs, beside its rounds without tracking.

    Args:
        workload: Of the rounds, at least two; ``None``: some seconds of ten sites of 2,000 patients.
    """
    work = Workload(rounds=_BATCHED_ROUNDS) if workload is None else workload
    return Comparison(
        name="tracking_round_batched",
        question="recording a round in the outbox / the round itself, batched engine, no tracking",
        ours=lambda: _recorded_beside(work),
        floor=lambda: _trained_together(work, NullTracker()),
        units=work.rounds,
        unit="round",
    )


def _recorded(work: Workload) -> float:
    """Seconds in which rounds are recorded; opening the outbox and the study's own record are not in it."""
    with tempfile.TemporaryDirectory() as name:
        tracker, _ = _started(work, Path(name))
        results = _results(work)
        started = time.perf_counter()
        for result in results:
            tracker.record_rounds([result])
        return time.perf_counter() - started


def _started(work: Workload, folder: Path) -> tuple[OutboxTracker, TrackingTarget]:
    """A tracker that nobody delivers from, with the study's own record."""
    target = TrackingTarget.choose("sqlite", output=folder)
    tracker = OutboxTracker(folder / "tracking", target, courier=NoCourier())
    tracker.start(work.manifest(), tags={})
    return tracker, target


def _results(work: Workload) -> list[RoundResult]:
    full = _result(work, work.manifest())
    return [replace(full, round_number=number + 1) for number in range(work.rounds)]


def _written(work: Workload) -> float:
    """Seconds in which the same bytes reach the disk."""
    records = [round_record(result).model_dump_json(exclude_defaults=True).encode() for result in _results(work)]
    with tempfile.TemporaryDirectory() as name, (Path(name) / "rounds").open("wb", buffering=0) as file:
        started = time.perf_counter()
        for record in records:
            file.write(record)
            os.fsync(file.fileno())
        return time.perf_counter() - started


def _sent(work: Workload) -> float:
    """Seconds in which rounds reach MLflow one after another; making its database and the run is not in it."""
    from aggregator.mlflow_delivery import deliver

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's and its database's own
        tracker, target = _started(work, Path(name))
        outbox, taken = Outbox(Path(name) / "tracking"), 0.0
        deliver(outbox, target)
        for result in _results(work):
            tracker.record_rounds([result])
            started = time.perf_counter()
            sent = deliver(outbox, target)
            taken += time.perf_counter() - started
            if sent.failure or sent.waiting:
                raise InternalError(f"expected MLflow to take a round, got {sent.failure or 'nothing delivered'}")
        return taken


def _result(work: Workload, manifest: StudyManifest) -> RoundResult:
    """Everything that a round can say of its sites."""
    figures: dict[str, float] = dict.fromkeys(_METRICS, 0.5)
    return RoundResult(
        round_number=1,
        contributors=work.sites,
        dropouts={},
        metrics=figures,
        site_metrics=dict.fromkeys(work.sites, figures),
        epsilon_spent=dict.fromkeys(work.sites, 1.0),
        update_norm=1.0,
        model_digest=manifest.digest,
        seconds=1.0,
    )


def _trained(work: Workload) -> float:
    """Seconds of the rounds of the same study; making the sites' folders is not in it."""
    manifest = work.manifest()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        agents = agents_of(work.data, manifest, folder)
        transport = InlineTransport({site: agent.handle for site, agent in agents.items()})
        started = time.perf_counter()
        run_study(
            manifest,
            transport,
            NullTracker(),
            checkpoints=CheckpointStore(folder / "coordinator", study=manifest.digest),
            clock=time.monotonic,
            on_round=lambda _: None,
        )
        return time.perf_counter() - started


class _Stopwatch(NullTracker):
    """Records rounds, each as one that has everything to say, and adds up how long that takes."""

    def __init__(self, tracker: OutboxTracker, full: RoundResult) -> None:
        self.seconds = 0.0
        self._tracker, self._full = tracker, full

    def record_rounds(self, results: Sequence[RoundResult]) -> None:
        full = [replace(self._full, round_number=result.round_number) for result in results]
        started = time.perf_counter()
        self._tracker.record_rounds(full)
        self.seconds += time.perf_counter() - started


def _recorded_beside(work: Workload) -> float:
    """Seconds for which the rounds of a batched simulation wait until they are recorded."""
    with tempfile.TemporaryDirectory() as name:
        tracker, _ = _started(work, Path(name))
        stopwatch = _Stopwatch(tracker, _result(work, work.manifest()))
        _trained_together(work, stopwatch)
        return stopwatch.seconds


def _trained_together(work: Workload, tracker: Tracker) -> float:
    """Seconds of the rounds of a batched simulation, as if the first, which starts workers, took as long as another."""
    manifest = work.manifest()
    ends: list[float] = []

    def coordinate(sites: DirectSites, checkpoints: CheckpointStore) -> StudyResult:
        return run_study(
            manifest,
            sites,
            tracker,
            checkpoints=checkpoints,
            clock=time.monotonic,
            on_round=lambda _: ends.append(time.perf_counter()),
        )

    with tempfile.TemporaryDirectory() as name:
        run_batched(manifest, work.data, coordinate, engine=BatchedEngine(kind="batched"), seed=SEED, folder=Path(name))
    return (ends[-1] - ends[0]) / (len(ends) - 1) * len(ends)
