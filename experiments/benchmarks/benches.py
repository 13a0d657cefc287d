"""What a bench is: something with a name that can be measured, and what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from experiments.benchmarks.alternation import Comparison, measure
from experiments.benchmarks.records import Agreement, Figure, Measurement, Skipped
from federation.checks import positive

_FEW: int = 3
"""Turns of a bench whose single turn takes a minute or more."""


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Args:
        repetitions: Turns that count.
        quick: One turn, and as little work as shows that everything runs.

    Raises:
        InvalidInputError: If ``repetitions`` is not positive.
    """

    repetitions: int = 7
    quick: bool = False

    def __post_init__(self) -> None:
        positive(repetitions=self.repetitions)

    @property
    def turns(self) -> int:
        """Turns of a bench whose single turn takes seconds at most."""
        return 1 if self.quick else self.repetitions

    @property
    def long_turns(self) -> int:
        """Turns of a bench whose single turn takes a minute or more."""
        return min(self.turns, _FEW)


@dataclass
class Found:
    """What benches found so far."""

    measurements: list[Measurement] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def extend(self, other: Found) -> None:
        """Take in what another bench found."""
        self.measurements += other.measurements
        self.figures += other.figures
        self.agreements += other.agreements
        self.skipped += other.skipped


@dataclass(frozen=True)
class Bench:
    """Something to measure.

    Args:
        name: What ``--only`` chooses by.
        question: What it answers, in a line.
        run: Measures it.
    """

    name: str
    question: str
    run: Callable[[Effort], Found]


def bench_of(comparison: Comparison) -> Bench:
    """A bench of one pair of ways."""
    return Bench(
        name=comparison.name,
        question=comparison.question,
        run=lambda effort: Found(measurements=[measure(comparison, repetitions=effort.turns)]),
    )
