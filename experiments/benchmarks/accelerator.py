"""``python -m experiments.benchmarks.accelerator``: rounds of the `batched` engine on the CPU and on an accelerator, in turns.

The same workloads as the suite's, with more sites: an accelerator is for many sites or large models.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import torch

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.benchmarks.workload import CNN, CNN_FEATURES, SEED, SMALL_MLP, WIDE_MLP, Workload
from experiments.engines.batched.blocks import Device, plan_blocks
from experiments.engines.batched.sites import BatchedSites
from federation.documents import Json
from federation.models.spec import ModelSpec
from federation.privacy.randomness import seeded_streams

_WORK: Final[tuple[tuple[str, ModelSpec, int, int, int], ...]] = (
    ("MLP 30-64-1, 10 sites of 2,000", SMALL_MLP, 30, 10, 2000),
    ("MLP 30-64-1, 100 sites of 2,000", SMALL_MLP, 30, 100, 2000),
    ("MLP of 10^6 parameters, 10 sites of 2,000", WIDE_MLP, 30, 10, 2000),
    ("CNN of 10^5 parameters on 28x28, 10 sites of 500", CNN, CNN_FEATURES, 10, 500),
)
_REPETITIONS: Final = 3


class _Unkept(CheckpointStore):
    def save(self, state: CoordinatorState) -> None:
        del state


def _seconds_per_round(workload: Workload, device: Device) -> float:
    """Median over rounds, the first left out."""
    manifest = workload.manifest()
    sites = BatchedSites(
        manifest,
        workload.data,
        streams={site: seeded_streams(SEED, provenance="synthetic") for site in workload.sites},
        plan=lambda network: plan_blocks(manifest, network, workload.data, device=device, memory_mib=8192),
    )
    times: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        result = run_study(
            manifest,
            sites,
            NullTracker(),
            checkpoints=_Unkept(Path(name), study=manifest.digest),
            clock=time.perf_counter,
            on_round=lambda found: times.append(found.seconds),
        )
    if not np.isfinite(result.parameters).all():
        raise ArithmeticError("expected finite parameters")
    return median(times[1:])


def main() -> None:
    """Measure and print JSON, the accelerator's name first."""
    devices: list[Device] = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    found: list[Json] = []
    for title, model, features, sites, patients in _WORK:
        for private in (False, True):
            workload = Workload(
                num_sites=sites, num_patients=patients, num_features=features, model=model, rounds=4, private=private
            )
            times: dict[str, list[float]] = {device: [] for device in devices}
            for _ in range(_REPETITIONS):
                for device in devices:
                    times[device].append(_seconds_per_round(workload, device))
            row = {device: median(values) * 1e3 for device, values in times.items()}
            found.append({"work": title, "private": private, "milliseconds_per_round": dict(row)})
            sys.stderr.write(f"{title}, {'private' if private else 'plain'}: {row}\n")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    facts: dict[str, Json] = {"accelerator": name, "torch": str(torch.__version__), "threads": torch.get_num_threads()}
    sys.stdout.write(json.dumps({**facts, "rounds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
