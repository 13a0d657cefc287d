"""A whole ``cohortium simulate`` beside a whole simulation in Flower: imports, start, rounds, end."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import yaml

from experiments.benchmarks.alternation import take_turns
from experiments.benchmarks.benches import Bench, Effort, Found
from experiments.benchmarks.records import Measurement, Skipped
from experiments.benchmarks.simulation_phases import Simulation, compiled, import_only, modules_of, phase_figures
from experiments.benchmarks.ways.given import give
from experiments.benchmarks.ways.ours import BEST_ENGINE
from experiments.benchmarks.ways.running import take_way
from experiments.benchmarks.workload import Workload
from federation.durable_files import write_durably
from federation.errors import MissingDependencyError

BENCH: Final = "whole_simulation"
NAME: Final = f"{BENCH}_flower"
FLOOR: Final = f"{BENCH}_import_floor"
_TRAINING_SHARE: Final = 0.7
"""Of a hospital's patients; the others are test patients."""


def whole_process_bench() -> Bench:
    """The first race's work as a user would start it."""
    return Bench(
        name=BENCH,
        question="a whole `cohortium simulate` of 20 rounds, 10 sites, MLP 30-64-1 / its imports alone; Flower's simulation",
        run=_run,
    )


def simulate_command(workload: Workload, folder: Path, *, engine: str) -> list[str]:
    """The command line that does work of the same shape: as many hospitals, training patients, features, rounds and steps.

    Hospitals are drawn, written as CSV files, read and encoded, and a report is written, which Flower's side does not do. Nothing
    is evaluated, no references are trained and nothing goes to MLflow, which it does not do either.
    """
    contract = {
        "name": "Benchmark",
        "patient_key": "patient",
        "variables": [
            {"name": f"x{number}", "kind": "continuous", "unit": "dimensionless", "minimum": -1, "maximum": 1}
            | {"out_of_range": "clip", "missing": {"rule": "forbid"}}
            for number in range(workload.num_features)
        ],
        "outcome": {"name": "died", "kind": "binary", "missing": {"rule": "forbid"}},
    }
    write_durably(folder / "contract.yaml", yaml.safe_dump(contract, sort_keys=False).encode())
    options = {
        "contract": folder / "contract.yaml",
        "num_sites": workload.num_sites,
        "patients_per_site": round(workload.num_patients / _TRAINING_SHARE),
        "size_skew": 0.0,
        "heterogeneity": 0.0,
        "missing_fraction": 0.0,
    }
    return [
        str(Path(sys.executable).with_name("cohortium")),
        "simulate",
        "study=synthetic",
        "model=mlp",
        "model.hidden=[64]",
        "tracking=none",
        "evaluation.release=none",
        f"engine={engine}",
        f"schedule.rounds={workload.rounds}",
        f"schedule.local_steps={workload.local_steps}",
        f"schedule.batch_size={workload.batch_size}",
        "report.bootstrap_samples=50",
        *(f"baselines.{name}=false" for name in ("pooled.enabled", "local_only", "cyclic", "non_private")),
        *(f"study.options.{name}={value}" for name, value in options.items()),
    ]


def _run(effort: Effort) -> Found:
    workload = Workload(rounds=3 if effort.quick else 20)
    with tempfile.TemporaryDirectory(prefix="cohortium-bench-") as name, compiled(Path(name) / "bytecode"):
        folder = Path(name)
        give(workload, folder)
        ours = Simulation(simulate_command(workload, folder, engine=BEST_ENGINE))
        ways = {
            "ours": ours.whole,
            "imports": partial(import_only, modules_of(ours.command, folder)),
            "flower": partial(_flower, folder),
        }
        skipped: list[Skipped] = []
        try:
            taken = take_turns(ways, repetitions=effort.long_turns)
        except MissingDependencyError as reason:  # in the first turn, which only warms up
            skipped.append(Skipped(name=NAME, reason=str(reason)))
            del ways["flower"]
            ours.times.clear()
            taken = take_turns(ways, repetitions=effort.long_turns)
    return Found(
        measurements=_measurements(taken, rounds=workload.rounds),
        figures=phase_figures(taken["ours"], taken["imports"], ours.times[1:]),  # the first turn warms up
        skipped=skipped,
    )


def _measurements(taken: Mapping[str, tuple[float, ...]], *, rounds: int) -> list[Measurement]:
    """Ours beside the floor and, where it ran, the peer."""
    work = f"a whole `cohortium simulate engine={BEST_ENGINE}` of {rounds} rounds, 10 sites, MLP 30-64-1 / "
    others = {
        "imports": (FLOOR, "a process that imports the same modules and ends"),
        "flower": (NAME, "the same shape in Flower's simulation on Ray, whole process"),
    }
    return [
        Measurement(
            name=name,
            question=work + words,
            unit="simulation",
            ours_seconds=taken["ours"],
            floor_seconds=taken[way],
        )
        for way, (name, words) in others.items()
        if way in taken
    ]


def _flower(folder: Path) -> float:
    taken = take_way("flower", folder, threads=1)
    if isinstance(taken, Skipped):
        raise MissingDependencyError(f"expected the peer to run, got none: {taken.reason}")
    return taken.process_seconds
