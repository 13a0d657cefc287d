"""What a measurement leaves behind: one JSON document of times, figures, agreements and facts about the machine."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from conf.received_files import read_received
from federation.documents import Document
from federation.durable_files import write_durably
from federation.errors import InvalidInputError

_LARGEST_BYTES: Final = 8 * 2**20

Seconds = Annotated[float, Field(gt=0)]


class Measurement(Document):
    """Seconds per unit of two ways of doing the same, in the order in which they were measured, in turns."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,80}$")]
    """Stable: the key by which two files are compared."""
    question: str
    """What the ratio answers: ``ours / the other``."""
    unit: str
    """Such as ``round`` or ``step``."""
    ours_seconds: Annotated[tuple[Seconds, ...], Field(min_length=1)]
    floor_seconds: Annotated[tuple[Seconds, ...], Field(min_length=1)]
    """Of a floor, or of another system."""

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if len(self.ours_seconds) != len(self.floor_seconds):
            message = f"expected as many times of both, got {len(self.ours_seconds)} and {len(self.floor_seconds)}"
            raise ValueError(message)
        return self

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


class Figure(Document):
    """A measured number that is no pair of times: an error, bytes, or a unit cost that a plan multiplies."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,80}$")]
    question: str
    value: Annotated[float, Field(ge=0)]
    unit: str


class Agreement(Document):
    """That a way did the same work as the others."""

    race: str
    way: str
    loss: float
    """Mean training loss, in nats."""
    accuracy: float
    distance: float | None
    """Of its final parameters from those of the first of the others, relative to how far training moved these; ``None`` where noise
    makes them differ."""
    threads: int
    workers: int | None = None
    """Processes beside the main one that trained; ``None``: not noted."""
    peak_mib: float
    """Of the main process."""


class Skipped(Document):
    """A way, or a whole measurement, that could not be taken here."""

    name: str
    reason: str


class MachineFacts(Document):
    """What a reader needs to judge a figure."""

    processor: str
    cores: int
    caches: dict[str, str]
    """Level to size, of one core."""
    memory_gib: float
    system: str
    python: str
    torch_build: str
    """How it multiplies matrices, and the vector instructions that it uses."""
    threads: int
    """Of one tensor operation in this process; programs say their own."""
    accelerator: str
    versions: dict[str, str]


class Origin(Document):
    """One run of several that were put together, and what of it was kept."""

    date: str
    code: str
    machine: MachineFacts
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float]
    benches: tuple[str, ...]
    """Whose rows are of this run."""


class Benchmarks(Document):
    """One run of ``make bench``, or several that were put together."""

    format: Literal["cohortium/benchmarks/1"] = "cohortium/benchmarks/1"
    date: str
    code: str = "unknown"
    """Commit that was measured; ``-dirty`` after it: with changes."""
    quick: bool
    """One turn of fewer rounds: shows that everything runs, and no more."""
    only: tuple[str, ...] = ()
    """What was asked for; nothing: everything."""
    benches: tuple[str, ...] = ()
    """Names of what was measured or skipped; what a bench leaves has a name that begins with the bench's."""
    machine: MachineFacts
    load_before: tuple[float, float, float]
    """Processes that wanted to run in the last 1, 5 and 15 minutes."""
    load_after: tuple[float, float, float]
    measurements: tuple[Measurement, ...] = ()
    figures: tuple[Figure, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    origins: tuple[Origin, ...] = ()
    """Of several runs that were put together; the facts above are then those of the last."""

    def measurement(self, name: str) -> Measurement | None:
        """The measurement of that name, if there is one."""
        return next((item for item in self.measurements if item.name == name), None)

    def figure(self, name: str) -> Figure | None:
        """The figure of that name, if there is one."""
        return next((item for item in self.figures if item.name == name), None)


def owner_of(name: str, benches: Iterable[str]) -> str | None:
    """The bench that leaves a row of this name, which begins with the bench's; of several such benches, the longest name is meant.

    Args:
        name: Of a measurement, figure or skip, or the race of an agreement.
        benches: All names that may be meant.

    Returns:
        ``None``: none of them.
    """
    return max((bench for bench in benches if f"{name}_".startswith(f"{bench}_")), key=len, default=None)


def read_benchmarks(path: Path) -> Benchmarks:
    """A run from its file.

    Raises:
        InvalidInputError: If it is no such file.
    """
    return read_received(path, Benchmarks, error=InvalidInputError, largest=_LARGEST_BYTES)


def write_benchmarks(path: Path, run: Benchmarks) -> None:
    """Write a run where :func:`read_benchmarks` finds it."""
    write_durably(path, run.model_dump_json(indent=1).encode() + b"\n")
