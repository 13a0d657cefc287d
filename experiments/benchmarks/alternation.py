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
class Beside:
    """One more way that ours is compared with, in the same turns.

    Args:
        name: Of its measurement; begins with the comparison's.
        question: What the ratio answers.
        work: It.
    """

    name: str
    question: str
    work: Work


@dataclass(frozen=True)
class Comparison:
    """Two ways or more, and the unit of what they do.

    Args:
        name: Short, stable name, a key in the JSON.
        question: What the ratio answers.
        ours: Our way.
        floor: The same work with nothing around it.
        units: How many units one call does; times are per unit.
        unit: Such as ``round`` or ``step``.
        beside: More ways that ours is compared with, such as a peer beside the floor.
    """

    name: str
    question: str
    ours: Work
    floor: Work
    units: int = 1
    unit: str = "call"
    beside: tuple[Beside, ...] = ()


def measure(comparison: Comparison, *, repetitions: int, clock: Callable[[], float] = time.perf_counter) -> Measurement:
    """Run both ways in turns; see :func:`measure_all`."""
    return measure_all(comparison, repetitions=repetitions, clock=clock)[0]


def measure_all(
    comparison: Comparison, *, repetitions: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[Measurement, ...]:
    """Run all ways in turns.

    Args:
        comparison: What to compare.
        repetitions: Turns that count; one more before them warms up.
        clock: Seconds.

    Returns:
        Ours beside the floor, and then beside each other way.

    Raises:
        InvalidInputError: If ``repetitions`` is not positive.
    """
    others = (Beside(comparison.name, comparison.question, comparison.floor), *comparison.beside)
    ways = {"ours": comparison.ours} | {other.name: other.work for other in others}
    taken = take_turns(ways, repetitions=repetitions, units=comparison.units, clock=clock)
    return tuple(
        Measurement(
            name=other.name,
            question=other.question,
            unit=comparison.unit,
            ours_seconds=taken["ours"],
            floor_seconds=taken[other.name],
        )
        for other in others
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
