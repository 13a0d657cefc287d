"""A simulation of the `batched` engine in a folder, begun or continued: its rounds are committed and recorded together."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.delivery_process import NoCourier
from aggregator.outbox_tracker import OutboxTracker
from aggregator.spaced_checkpoints import SpacedCheckpoints
from aggregator.tracking import NullTracker, Tracker, TrackingTarget
from experiments.engines.batched.blocks import plan_blocks
from experiments.engines.batched.sites import BatchedSites
from federation.privacy.randomness import fresh_streams, seeded_streams
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult, StudyResult
from tests.experiments.batched_study import SEED, data_of, study

ROUNDS = 7
SCHEDULE = {"rounds": ROUNDS, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}


def manifest_of(privacy: str = "plain") -> StudyManifest:
    """SCAFFOLD: sites remember something from round to round."""
    return study(algorithm={"kind": "scaffold"}, schedule=SCHEDULE, privacy=privacy)


def checkpoints_of(folder: Path, privacy: str = "plain") -> CheckpointStore:
    """What is committed in the folder."""
    return CheckpointStore(folder / "coordinator", study=manifest_of(privacy).digest)


def tracker_in(folder: Path) -> OutboxTracker:
    """Tracks into an outbox beside the simulation, for a database that nobody delivers to yet; started."""
    target = TrackingTarget.choose("sqlite", output=folder)
    tracker = OutboxTracker(folder / "tracking", target, courier=NoCourier())
    tracker.start(manifest_of(), tags={})
    return tracker


def simulate(
    folder: Path,
    *,
    privacy: str = "plain",
    seeded: bool = True,
    tracker: Tracker | None = None,
    on_round: Callable[[RoundResult], None] = lambda _: None,
    sites_class: type[BatchedSites] = BatchedSites,
) -> StudyResult:
    """Run to the end from the last commit. By its clock rounds 3, 6 and 7 are committed.

    Args:
        folder: Of the simulation.
        privacy: ``plain`` or ``private``.
        seeded: Whether a round that is trained again comes out as before.
        tracker: ``None``: records nothing.
        on_round: Called after each round.
        sites_class: May fail in between.
    """
    manifest = manifest_of(privacy)
    data = data_of(manifest)
    done = checkpoints_of(folder, privacy).latest()
    sites = sites_class(
        manifest,
        data,
        streams={
            site.site: seeded_streams(SEED, provenance="synthetic") if seeded else fresh_streams() for site in data
        },
        plan=lambda network: plan_blocks(manifest, network, data),
        folder=folder / "sites",
        resumed_from=0 if done is None else done.round_number,
    )
    return run_study(
        manifest,
        sites,
        tracker or NullTracker(),
        checkpoints=SpacedCheckpoints(
            folder / "coordinator",
            study=manifest.digest,
            last_round=ROUNDS,
            clock=itertools.count().__next__,
            before_commit=sites.states.commit,
            seconds=3.0,
        ),
        clock=itertools.count().__next__,
        on_round=on_round,
    )
