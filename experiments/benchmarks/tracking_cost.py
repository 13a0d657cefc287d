"""What tracking costs a round: writing its record to the outbox, beside the round itself. Delivery is another process's work."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.delivery_process import NoCourier
from aggregator.outbox_tracker import OutboxTracker
from aggregator.tracking import NullTracker, TrackingTarget
from experiments.benchmarks.alternation import Comparison
from experiments.benchmarks.workload import Workload, agents_of
from experiments.engines.inline import InlineTransport
from federation.study.result import RoundResult

if TYPE_CHECKING:
    from federation.study.manifest import StudyManifest

_METRICS: Final = ("auroc", "accuracy", "brier", "log_loss", "calibration_slope", "calibration_intercept")


def tracking_comparison(workload: Workload | None = None) -> Comparison:
    """Recording a round of ten sites, durably, beside the round in the inline engine without tracking.

    Args:
        workload: Of the round; ``None``: ten sites of 2,000 patients.
    """
    work = Workload() if workload is None else workload
    return Comparison(
        name="tracking_round",
        question="recording a round in the outbox / the round itself, inline engine, no tracking",
        ours=lambda: _recorded(work),
        floor=lambda: _trained(work),
        units=work.rounds,
        unit="round",
    )


def _recorded(work: Workload) -> float:
    """Seconds in which rounds are recorded; opening the outbox and the study's own record are not in it."""
    manifest = work.manifest()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = TrackingTarget.choose("sqlite", output=folder)
        tracker = OutboxTracker(folder / "tracking", target, courier=NoCourier())
        tracker.start(manifest, tags={})
        results = [replace(_result(work, manifest), round_number=number + 1) for number in range(work.rounds)]
        started = time.perf_counter()
        for result in results:
            tracker.record_round(result)
        return time.perf_counter() - started


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
