"""The aggregator's fold: beside its bytes at memory speed, beside Flower's aggregation, and its memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.folding import WeightedFold
from experiments.benchmarks.alternation import take_turns
from experiments.benchmarks.benches import Bench, Effort, Found
from experiments.benchmarks.records import Figure, Measurement
from federation.privacy.randomness import seeded_streams

SIZE: Final = 10_000_000
_QUICK_SIZE: Final = 1_000_000
UPDATES: Final = 10
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
    update = seeded_streams(1, provenance="synthetic").stream("update").standard_normal(size, dtype=np.float32)
    ways = {
        "ours": our_fold(update, threads=1),
        "cores": our_fold(update, threads=None),
        "memory": bytes_of_a_fold(update),
        "numpy": in_place(update),
        "flower": flower_aggregate(update),
    }
    taken = take_turns(ways, repetitions=effort.turns, units=UPDATES)
    ours = f"folding an update of {size:.0e} float32 parameters".replace("e+0", "e")
    pairs = (
        ("fold_memory_speed", f"{ours}, one thread / its bytes at memory speed", "ours", "memory"),
        (
            "fold_cores_memory_speed",
            f"{ours}, all cores / its bytes at the memory speed of one core",
            "cores",
            "memory",
        ),
        ("fold_numpy", f"{ours}, one thread / adding it in place to a float32 vector with NumPy", "ours", "numpy"),
        ("fold_flower", f"{ours}, one thread / Flower's FedAvg arithmetic", "ours", "flower"),
    )
    return Found(
        measurements=[
            Measurement(name=name, question=words, unit="update", ours_seconds=taken[one], floor_seconds=taken[other])
            for name, words, one, other in pairs
        ]
    )


def our_fold(update: Update, *, threads: int | None) -> Callable[[], None]:
    """The fold of :data:`UPDATES` updates, its first one's allocation included, without the division at the end."""

    def work() -> None:
        fold = WeightedFold(update.size, threads=threads)
        for number in range(UPDATES):
            fold.add(f"site-{number}", {"update": update}, weight=2.0)

    return work


def bytes_of_a_fold(update: Update) -> Callable[[], None]:
    """As many bytes with as little arithmetic: every update read once, every float64 sum read and written once."""
    total = np.zeros(update.size)

    def work() -> None:
        for _ in range(UPDATES):
            np.maximum.reduce(update)
            np.add(total, 1.0, out=total)

    return work


def in_place(update: Update) -> Callable[[], None]:
    """What a script would write: a running sum in float32, which rounds at every addition."""
    total = np.zeros_like(update)

    def work() -> None:
        for _ in range(UPDATES):
            np.add(total, update, out=total)

    return work


def flower_aggregate(update: Update) -> Callable[[], None]:
    """Flower's weighted mean of as many updates, all of which it holds."""

    def work() -> None:
        from flwr.server.strategy.aggregate import aggregate

        aggregate([([update], 2) for _ in range(UPDATES)])

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
        fold = WeightedFold(size)
        for site in range(number):
            fold.add(f"site-{site}", {"update": make()}, weight=1.0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
