"""Measuring two ways of doing the same work in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from federation.checks import positive

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


@dataclass(frozen=True)
class Measurement:
    """Seconds per unit of both, in the order they were measured, and what follows from them."""

    name: str
    question: str
    unit: str
    ours_seconds: tuple[float, ...]
    floor_seconds: tuple[float, ...]

    @property
    def ours(self) -> float:
        """Median seconds per unit."""
        return statistics.median(self.ours_seconds)

    @property
    def floor(self) -> float:
        """Median seconds per unit."""
        return statistics.median(self.floor_seconds)

    @property
    def ratio(self) -> float:
        """Median of the ratios of neighbouring measurements: what slows the machine for both cancels."""
        return statistics.median(self._ratios())

    @property
    def ratio_range(self) -> tuple[float, float]:
        """Smallest and largest of these ratios."""
        return min(self._ratios()), max(self._ratios())

    def _ratios(self) -> list[float]:
        return [ours / floor for ours, floor in zip(self.ours_seconds, self.floor_seconds, strict=True)]

    def as_data(self) -> Mapping[str, object]:
        """For the JSON file."""
        return asdict(self) | {
            "ours_median_seconds": self.ours,
            "floor_median_seconds": self.floor,
            "ratio": self.ratio,
            "ratio_range": list(self.ratio_range),
        }


def measure(comparison: Comparison, *, repetitions: int, clock: Callable[[], float] = time.perf_counter) -> Measurement:
    """Run both ways in turns.

    Args:
        comparison: What to compare.
        repetitions: Pairs that count; one more pair before them warms up.
        clock: Seconds.

    Raises:
        InvalidInputError: If ``repetitions`` is not positive.
    """
    positive(repetitions=repetitions)

    def timed(work: Work) -> float:
        started = clock()
        seconds = work()
        return (clock() - started if seconds is None else seconds) / comparison.units

    pairs = [(timed(comparison.ours), timed(comparison.floor)) for _ in range(repetitions + 1)][1:]
    return Measurement(
        name=comparison.name,
        question=comparison.question,
        unit=comparison.unit,
        ours_seconds=tuple(ours for ours, _ in pairs),
        floor_seconds=tuple(floor for _, floor in pairs),
    )
