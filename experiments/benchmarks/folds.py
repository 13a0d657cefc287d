"""The aggregator's fold: beside its bytes at memory speed, beside Flower's aggregation, and its memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.folding import WeightedFold
from experiments.benchmarks.alternation import take_turns
from experiments.benchmarks.benches import Bench, Effort, Found
from experiments.benchmarks.fold_parts import PARTS, parts_of_a_fold
from experiments.benchmarks.records import Figure, Measurement
from federation.errors import InternalError
from federation.privacy.randomness import seeded_streams

SIZE: Final = 10_000_000
_QUICK_SIZE: Final = 1_000_000
UPDATES: Final = 10
SHARING: Final = 6
"""Updates of one pass over the sum in the stricter floor: as many of this size as the fold lets wait."""
MANY_UPDATES: Final = 200
_MEMORY_SIZE: Final = 1_000_000

Update = NDArray[np.float32]


def fold_benches() -> tuple[Bench, ...]:
    """Times, and memory."""
    return (
        Bench(name="fold", question="folding an update of 1e7 float32 parameters / floors and Flower", run=_run),
        Bench(
            name="fold_peak",
            question="memory of the fold with 10 and with 200 sites",
            run=lambda _: Found(figures=[*fold_memory()]),
        ),
    )


def _run(effort: Effort) -> Found:
    size = _QUICK_SIZE if effort.quick else SIZE
    updates = updates_of_sites(size)
    ways = {
        "ours": our_fold(updates, threads=1),
        "cores": our_fold(updates, threads=None),
        "memory": bytes_of_a_fold(updates),
        "least": bytes_of_a_fold(updates, sharing=SHARING),
        "numpy": in_place(updates),
        "flower": flower_aggregate(updates),
        **parts_of_a_fold(updates),
    }
    taken = take_turns(ways, repetitions=effort.turns, units=UPDATES)
    number = f"{size:.0e}".replace("e+0", "e")
    work = f"folding an update of {number} float32 parameters"
    one, all_cores = f"{work}, one thread", f"{work}, all cores"
    pairs = (
        ("fold_memory_speed", f"{one} / its bytes at memory speed, one update after another", "ours", "memory"),
        (
            "fold_least_memory_speed",
            f"{one} / its bytes at memory speed where {SHARING} updates share a reading and writing of the sum",
            "ours",
            "least",
        ),
        ("fold_cores_memory_speed", f"{all_cores} / its bytes at the memory speed of one core", "cores", "memory"),
        ("fold_numpy", f"{one} / adding it in place to a float32 vector with NumPy", "ours", "numpy"),
        ("fold_flower", f"{all_cores}, as a round does it / Flower's FedAvg aggregation", "cores", "flower"),
        ("fold_flower_one_thread", f"{one} / Flower's FedAvg aggregation", "ours", "flower"),
        *(
            (f"fold_part_{part}", f"{words.format(number)}, one thread / Flower's FedAvg aggregation", part, "flower")
            for part, words in PARTS.items()
        ),
    )
    return Found(
        measurements=[
            Measurement(name=name, question=words, unit="update", ours_seconds=taken[way], floor_seconds=taken[other])
            for name, words, way, other in pairs
        ]
    )


def updates_of_sites(size: int) -> list[Update]:
    """One vector of its own for each of :data:`UPDATES` sites, so that no way finds an update in the cache."""
    streams = seeded_streams(1, provenance="synthetic")
    return [streams.stream("update", number).standard_normal(size, dtype=np.float32) for number in range(UPDATES)]


def our_fold(updates: Sequence[Update], *, threads: int | None) -> Callable[[], None]:
    """The fold as a round does it, the first update's allocation included, without the division at the end."""

    def work() -> None:
        fold = WeightedFold(updates[0].size, threads=threads, are_handed_over=True)
        for number, update in enumerate(updates):
            fold.add(f"site-{number}", {"update": update}, weight=2.0)
        if set(fold.sums) != {"update"}:  # reading them adds what waits
            raise InternalError("expected the sum of the updates and nothing else")

    return work


def bytes_of_a_fold(updates: Sequence[Update], *, sharing: int = 1) -> Callable[[], None]:
    """As many bytes with as little arithmetic: every update read once, the float64 sum read and written once.

    Args:
        updates: Read.
        sharing: Updates for which the sum is read and written once.
    """
    total = np.zeros(updates[0].size)

    def work() -> None:
        for number, update in enumerate(updates):
            np.maximum.reduce(update)
            if number % sharing == 0:
                np.add(total, 1.0, out=total)

    return work


def in_place(updates: Sequence[Update]) -> Callable[[], None]:
    """What a script would write: a running sum in float32, which rounds at every addition."""
    total = np.zeros_like(updates[0])

    def work() -> None:
        for update in updates:
            np.add(total, update, out=total)

    return work


def flower_aggregate(updates: Sequence[Update]) -> Callable[[], None]:
    """Flower's weighted mean of the updates, all of which it holds."""

    def work() -> None:
        from flwr.server.strategy.aggregate import aggregate

        aggregate([([update], 2) for update in updates])

    return work


def fold_memory(size: int = _MEMORY_SIZE) -> tuple[Figure, ...]:
    """Most bytes that are allocated while so many updates are folded, each made when it is due, and their ratio."""
    peaks = {number: _peak_bytes(number, size) for number in (UPDATES, MANY_UPDATES)}
    words = f"most bytes allocated while {{}} updates of {size:,} parameters are folded"
    return (
        *(
            Figure(name=f"fold_peak_{number}", question=words.format(number), value=float(peak), unit="bytes")
            for number, peak in peaks.items()
        ),
        Figure(
            name="fold_peak_growth",
            question=f"peak memory of the fold with {MANY_UPDATES} sites / with {UPDATES}",
            value=round(peaks[MANY_UPDATES] / peaks[UPDATES], 4),
            unit="ratio",
        ),
    )


def _peak_bytes(number: int, size: int) -> int:
    make: Callable[[], Update] = partial(np.ones, size, dtype=np.float32)
    make().sum()
    tracemalloc.start()
    try:
        fold = WeightedFold(size, are_handed_over=True)
        for site in range(number):
            fold.add(f"site-{site}", {"update": make()}, weight=1.0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
