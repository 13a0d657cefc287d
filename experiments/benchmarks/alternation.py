"""Measuring several ways of doing the same work in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from experiments.benchmarks.records import Measurement
from federation.checks import positive

TURNS_OF_SLOW_WAYS: Final = 3

Work = Callable[[], float | None]
"""Does the work once. Returns the seconds of the part that counts, or ``None`` if all of it does."""


@dataclass(frozen=True)
class Comparison:
    """Two ways, and the unit of what they do.

    Args:
        name: Short, stable name, a key in the JSON.
        question: What the ratio answers.
        ours: Our way.
        floor: The same work with nothing around it.
        units: How many units one call does; times are per unit.
        unit: Such as ``round`` or ``step``.
    """

    name: str
    question: str
    ours: Work
    floor: Work
    units: int = 1
    unit: str = "call"


def measure(comparison: Comparison, *, repetitions: int, clock: Callable[[], float] = time.perf_counter) -> Measurement:
    """Run both ways in turns.

    Args:
        comparison: What to compare.
        repetitions: Pairs that count; one more pair before them warms up.
        clock: Seconds.

    Raises:
        InvalidInputError: If ``repetitions`` is not positive.
    """
    ways = {"ours": comparison.ours, "floor": comparison.floor}
    taken = take_turns(ways, repetitions=repetitions, units=comparison.units, clock=clock)
    return Measurement(
        name=comparison.name,
        question=comparison.question,
        unit=comparison.unit,
        ours_seconds=taken["ours"],
        floor_seconds=taken["floor"],
    )


def take_turns(
    ways: Mapping[str, Work],
    *,
    repetitions: int,
    units: int = 1,
    slow_seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, tuple[float, ...]]:
    """Run every way once, then every way again, and so on.

    Args:
        ways: Name to work.
        repetitions: Turns that count; one more before them warms up.
        units: How many units one call does.
        slow_seconds: A way whose warm-up took longer is in the first three turns only, so that one slow peer does not take all the
            time of a measurement.
        clock: Seconds.

    Returns:
        Seconds per unit of each way, turn by turn; see :func:`of_both`.

    Raises:
        InvalidInputError: If ``repetitions`` is not positive.
    """
    positive(repetitions=repetitions)

    def timed(work: Work) -> float:
        started = clock()
        seconds = work()
        return (clock() - started if seconds is None else seconds) / units

    slow = {name for name, work in ways.items() if timed(work) * units > slow_seconds}
    turns = [
        {name: timed(work) for name, work in ways.items() if number < TURNS_OF_SLOW_WAYS or name not in slow}
        for number in range(repetitions)
    ]
    return {name: tuple(turn[name] for turn in turns if name in turn) for name in ways}


def of_both(
    taken: Mapping[str, tuple[float, ...]], one: str, other: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The seconds of two ways, of the turns that both took: the first ones."""
    number = min(len(taken[one]), len(taken[other]))
    return taken[one][:number], taken[other][:number]
