"""Running a study with the `batched` engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from aggregator.checkpoints import CheckpointStore
from aggregator.direct_rounds import DirectSites
from aggregator.spaced_checkpoints import SpacedCheckpoints
from experiments.engines.batched.blocks import plan_blocks
from experiments.engines.batched.sites import BatchedSites
from experiments.settings import BatchedEngine
from federation.privacy.randomness import fresh_streams, seeded_streams
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.patients import SiteData

_LOG: Final = logging.getLogger("cohortium.engine")

Coordinate = Callable[[DirectSites, CheckpointStore], StudyResult]


def run_batched(
    manifest: StudyManifest,
    sites: Sequence[SiteData],
    coordinate: Coordinate,
    *,
    engine: BatchedEngine,
    seed: int | None,
    folder: Path,
) -> StudyResult:
    """Run a study whose sites are one tensor program.

    Args:
        manifest: Of the study; nothing speaks against batching it.
        sites: Patients of every site of the roster.
        coordinate: Runs the study over the sites, with the checkpoints it is given.
        engine: Its settings.
        seed: Of seeded randomness; ``None``: every site draws its own key from the operating system.
        folder: Of the study; an interrupted simulation goes on from it.
    """
    by_name = {site.site: site for site in sites}
    in_order = [by_name[entry.site] for entry in manifest.roster]
    done = CheckpointStore(folder / "coordinator", study=manifest.digest).latest()
    batched = BatchedSites(
        manifest,
        in_order,
        streams={
            site.site: fresh_streams() if seed is None else seeded_streams(seed, provenance=manifest.cohort.provenance)
            for site in in_order
        },
        plan=lambda network: plan_blocks(
            manifest,
            network,
            in_order,
            device=engine.device,
            memory_mib=engine.memory_mib,
            num_workers=engine.num_workers,
        ),
        folder=folder / "sites",
        resumed_from=0 if done is None else done.round_number,
    )
    plan = batched.plan
    _LOG.info(
        "%d sites in blocks of %d on %s, workers: %d, at most %d MiB",
        len(in_order),
        plan.block_sites,
        plan.device,
        plan.num_workers,
        -(-plan.needed_bytes // 2**20),
    )
    checkpoints = SpacedCheckpoints(
        folder / "coordinator",
        study=manifest.digest,
        last_round=manifest.schedule.rounds,
        clock=time.monotonic,
        before_commit=batched.states.commit,
    )
    try:
        return coordinate(batched, checkpoints)
    finally:
        batched.close()
