"""What a bench is: something with a name that can be measured, and what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from experiments.benchmarks.alternation import Comparison, measure_all
from experiments.benchmarks.records import Agreement, Figure, Measurement, Skipped, owner_of
from federation.checks import positive
from federation.errors import InternalError

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

    @property
    def names(self) -> list[str]:
        """Of everything that was found."""
        named = [item.name for item in (*self.measurements, *self.figures, *self.skipped)]
        return [*named, *(item.race for item in self.agreements)]


@dataclass(frozen=True)
class Bench:
    """Something to measure.

    Args:
        name: What ``--only`` chooses by; everything that it leaves has a name that begins with it.
        question: What it answers, in a line.
        run: Measures it.
    """

    name: str
    question: str
    run: Callable[[Effort], Found]

    def measured(self, effort: Effort) -> Found:
        """What it finds.

        Raises:
            InternalError: If a row's name does not say that it is this bench's: a page or a merge could not tell.
        """
        found = self.run(effort)
        strange = [name for name in found.names if owner_of(name, (self.name,)) is None]
        if strange:
            raise InternalError(f"expected names that begin with {self.name}_, got {strange}")
        return found


def bench_of(comparison: Comparison) -> Bench:
    """A bench of one pair of ways."""
    return Bench(
        name=comparison.name,
        question=comparison.question,
        run=lambda effort: Found(measurements=list(measure_all(comparison, repetitions=effort.turns))),
    )
