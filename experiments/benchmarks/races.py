"""Whole simulations in turns: ours, a bare loop and other systems, each in a process of its own, on the same work.

A way that does not reach the model of the others does not do the same work, and is left out by name.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from experiments.benchmarks.benches import Bench, Effort, Found
from experiments.benchmarks.records import Agreement, Measurement, Skipped
from experiments.benchmarks.ways.given import RECORDS_FILE, give, parameters_file
from experiments.benchmarks.ways.ours import BEST_ENGINE
from experiments.benchmarks.ways.running import WayRun, take_way
from experiments.benchmarks.workload import CNN, CNN_FEATURES, Workload
from federation.errors import InternalError

_QUICK_ROUNDS: Final = 3
_LONGEST_SECONDS: Final = 300.0
"""Of the turns of one race: none begins that would end later. Training a private CNN takes peers minutes."""
_LOSS_TOLERANCE: Final = 0.005
"""Relative, between ways of plain training, which take the same steps."""
_PRIVATE_LOSS_TOLERANCE: Final = 0.05
"""Relative, between ways of private training, whose noise and draws differ."""

TakeWay = Callable[[str, Path, int], WayRun | Skipped]


@dataclass(frozen=True)
class Race:
    """One piece of work and who does it.

    Args:
        name: What ``--only`` chooses by, and the beginning of its measurements' names.
        work: In words.
        workload: The work.
        others: The ways beside ours; the first is the one that the others are compared with.
        threads: Of a tensor operation in the main process of each way. Workers, ours and Flower's, have one each. Ours takes
            as many workers as it does by default.
    """

    name: str
    work: str
    workload: Workload
    others: tuple[str, ...]
    threads: int = 1


_CNN_WORK: Final = Workload(model=CNN, num_features=CNN_FEATURES, rounds=4)
RACES: Final = (
    Race(
        "mlp_round",
        "a round of 10 sites with 2,000 patients each, MLP 30-64-1",
        Workload(rounds=20),
        ("bare", "pfl", "flower", "inline"),
    ),
    Race(
        "private_mlp_round",
        "the same with DP-SGD",
        Workload(rounds=10, private=True),
        ("opacus", "opacus_ghost", "flower"),
    ),
    Race(
        "hundred_sites_round",
        "a round of 100 sites with 2,000 patients each, all of whom take part",
        Workload(num_sites=100, rounds=5),
        ("bare", "pfl", "flower"),
    ),
    Race(
        "cnn_round",
        "a round of 10 sites with 2,000 images of 28x28 each, CNN of 105,281 parameters, both cores",
        _CNN_WORK,
        ("bare", "pfl", "flower"),
        threads=2,
    ),
    Race(
        "private_cnn_round",
        "a round of 10 sites with 1,000 images of 28x28 each, CNN of 105,281 parameters, both cores, with DP-SGD",
        _CNN_WORK.model_copy(update={"private": True, "num_patients": 1000, "rounds": 2}),
        ("opacus", "flower", "pfl"),
        threads=2,
    ),
)
WAYS: Final = {
    "inline": "the inline engine, which calls one site after another",
    "bare": "a bare sequential PyTorch loop",
    "pfl": "pfl 0.6",
    "flower": "Flower's simulation on Ray (with Opacus' hooks where it is private)",
    "opacus": "Opacus' hooks in a bare loop",
    "opacus_ghost": "Opacus' ghost clipping in a bare loop",
}


def _take(way: str, folder: Path, threads: int) -> WayRun | Skipped:
    return take_way(way, folder, threads=threads)


def cannot(race: Race, way: str) -> str | None:
    """Why a way cannot do a race's work at all; ``None``: it can."""
    if race.workload.private and way == "pfl":
        return "pfl 0.6 has no DP-SGD on records: its mechanisms protect a whole site"
    return None


def race_benches() -> tuple[Bench, ...]:
    """One bench a race."""
    return tuple(
        Bench(name=race.name, question=race.work, run=lambda effort, race=race: run_race(race, effort))
        for race in RACES
    )


def run_race(
    race: Race, effort: Effort, take: TakeWay = _take, *, clock: Callable[[], float] = time.monotonic
) -> Found:
    """Every way in turns, as often as the effort says, or as five minutes allow; once at least.

    Args:
        race: The work.
        effort: How much.
        take: Takes one way once.
        clock: Seconds.

    Raises:
        InternalError: If our own way fails, or does other work than the others.
    """
    rounds = min(race.workload.rounds, _QUICK_ROUNDS) if effort.quick else race.workload.rounds
    workload = race.workload.model_copy(update={"rounds": rounds})
    found = Found()
    with tempfile.TemporaryDirectory(prefix="cohortium-bench-") as name:
        folder = Path(name)
        give(workload, folder)
        ours, turns = BEST_ENGINE, list[dict[str, WayRun]]()
        ways = [ours, *(way for way in _able(race, found) if way != ours)]
        for _ in _turns(effort.long_turns, clock):
            turn: dict[str, WayRun] = {}
            for way in list(ways):
                taken = take(way, folder, race.threads)
                if isinstance(taken, WayRun):
                    turn[way] = taken
                    continue
                if way == ours:
                    raise InternalError(f"expected {ours} to finish {race.name}, it {taken.reason}")
                found.skipped.append(Skipped(name=f"{race.name}_{way}", reason=taken.reason))
                ways.remove(way)
            if not turns:
                _compare(race, turn, folder, ways=ways, found=found)
            turns.append(turn)
    found.measurements += [_measurement(race, ours, way, turns) for way in ways if way != ours]
    return found


def _turns(most: int, clock: Callable[[], float]) -> Iterator[int]:
    """Numbers of turns: one at least, and no further one that would end too late if it takes as long as those before."""
    started = clock()
    for number in range(most):
        if number and (clock() - started) * (number + 1) > _LONGEST_SECONDS * number:
            return
        yield number


def _able(race: Race, found: Found) -> list[str]:
    """The others that can do the work at all."""
    reasons = {way: cannot(race, way) for way in race.others}
    found.skipped += [
        Skipped(name=f"{race.name}_{way}", reason=reason) for way, reason in reasons.items() if reason is not None
    ]
    return [way for way, reason in reasons.items() if reason is None]


def _compare(race: Race, turn: dict[str, WayRun], folder: Path, *, ways: list[str], found: Found) -> None:
    """Note how good each way's model is, and leave out ways that did other work. The first way is ours."""
    private, ours = race.workload.private, ways[0]
    reference = next((way for way in turn if way != ours), ours)
    wanted, tolerance = turn[reference].finished.loss, _PRIVATE_LOSS_TOLERANCE if private else _LOSS_TOLERANCE
    for way, run in turn.items():
        finished = run.finished
        agreement = Agreement(
            race=race.name,
            way=way,
            loss=finished.loss,
            accuracy=finished.accuracy,
            distance=None if private else _distance(folder, way, reference),
            threads=finished.threads,
            workers=finished.workers,
            peak_mib=finished.peak_mib,
        )
        found.agreements.append(agreement)
        if abs(finished.loss - wanted) <= tolerance * wanted:
            continue
        reason = f"does other work: its loss is {finished.loss:.4f}, that of {reference} {wanted:.4f}"
        if way == ours:
            raise InternalError(f"{race.name}: our {way} {reason}")
        found.skipped.append(Skipped(name=f"{race.name}_{way}", reason=reason))
        ways.remove(way)


def _distance(folder: Path, way: str, reference: str) -> float:
    def parameters(name: str) -> NDArray[np.float64]:
        return load_file(parameters_file(folder, name))["parameters"].astype(np.float64)

    start = load_file(folder / RECORDS_FILE)["initial"].astype(np.float64)
    moved = float(np.linalg.norm(parameters(reference) - start))
    return float(np.linalg.norm(parameters(way) - parameters(reference))) / moved


def _measurement(race: Race, ours: str, way: str, turns: list[dict[str, WayRun]]) -> Measurement:
    def seconds(name: str) -> tuple[float, ...]:
        return tuple(statistics.median(turn[name].finished.round_seconds) for turn in turns)

    return Measurement(
        name=f"{race.name}_{way}",
        question=f"{race.work}, engine {ours} / {WAYS[way]}",
        unit="round",
        ours_seconds=seconds(ours),
        floor_seconds=seconds(way),
    )
