"""What a round of the `batched` engine is made of: ``python -m experiments.benchmarks.round_profile``, one line for each part.

Milliseconds, the least of some rounds: draws, steps and noise of a block of all sites, and of a block of half of them; whole
rounds with one worker and with two, coordinator and fold included.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.direct_rounds import DirectSites
from aggregator.tracking import NullTracker
from experiments.benchmarks.ways.given import empty_model
from experiments.benchmarks.workload import SEED, Workload
from experiments.engines.batched.block_training import BlockTraining, RoundStart
from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.private import step_noise
from experiments.engines.batched.run import run_batched
from experiments.settings import BatchedEngine
from federation.algorithms.build import build_algorithm
from federation.errors import InternalError
from federation.models.parameters import initial_parameters
from federation.models.stacked.network import stacked_network
from federation.privacy.keystream import KeyStream
from federation.privacy.randomness import seeded_streams
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult

_ROUNDS: Final = 20


def main() -> None:
    """Print the parts of plain and private rounds."""
    torch.set_num_threads(1)
    for private in (False, True):
        workload = Workload(rounds=_ROUNDS, private=private)
        kind = "private" if private else "plain"
        for number in (workload.num_sites, workload.num_sites // 2):
            for part, seconds in parts_of_round(workload, number).items():
                sys.stdout.write(f"{kind}, block of {number} sites, {part}: {1e3 * seconds:.2f} ms\n")
        for workers in (1, 2):
            seconds = whole_round(workload, workers)
            sys.stdout.write(f"{kind}, whole round, workers {workers}: {1e3 * seconds:.2f} ms\n")


def _least(work: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def parts_of_round(workload: Workload, number: int) -> dict[str, float]:
    """Seconds of the parts of a block's round.

    Args:
        workload: The work.
        number: Sites of the block, the first ones.

    Returns:
        Of draws, of steps with their noise, and in private work of the noise alone.
    """
    manifest, data = workload.manifest(), workload.data[:number]
    module = empty_model(workload)
    network = stacked_network(module)
    if network is None:
        raise InternalError("expected a network whose layers are all covered")
    streams = {site.site: seeded_streams(SEED, provenance="synthetic") for site in data}
    training = BlockTraining(
        manifest=manifest,
        module=module,
        network=network,
        layout=ChainLayout.of(network),
        algorithm=build_algorithm(manifest.algorithm),
        streams=streams,
        device=torch.device("cpu"),
        prepared=None,
    )
    block = training.stacked(data)
    start = RoundStart(1, initial_parameters(module, seed=SEED), {}, {site.site: {} for site in data})
    draws = training.draw(block, 1)
    widths = block.stack.widths(draws.places)
    found = {
        "draws": _least(lambda: training.draw(block, 1)),
        "steps with their noise": _least(lambda: training.train(block, start, draws, widths)),
    }
    if workload.private:
        mechanisms = [manifest.mechanism(site.site) for site in data]
        keys = [KeyStream.from_streams(own, "profile") for own in streams.values()]
        found["noise"] = _least(
            lambda: step_noise(
                keys, size=network.num_parameters, num_steps=mechanisms[0].steps_per_round, mechanisms=mechanisms
            )
        )
    return found


def whole_round(workload: Workload, workers: int) -> float:
    """Seconds from the end of a round to the end of the next, the least of a study.

    Args:
        workload: The work.
        workers: Of the engine.
    """
    manifest: StudyManifest = workload.manifest()
    ends: list[float] = []

    def coordinate(sites: DirectSites, checkpoints: CheckpointStore) -> StudyResult:
        return run_study(
            manifest,
            sites,
            NullTracker(),
            checkpoints=checkpoints,
            clock=time.monotonic,
            on_round=lambda _: ends.append(time.perf_counter()),
        )

    engine = BatchedEngine(kind="batched", num_workers=workers)
    with tempfile.TemporaryDirectory() as name:
        run_batched(manifest, workload.data, coordinate, engine=engine, seed=SEED, folder=Path(name))
    return float(np.diff(ends).min())


if __name__ == "__main__":
    main()
