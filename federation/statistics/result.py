"""What an analysis says: tables of numbers over all its patients, and what a reader must know about them."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from federation.documents import Document
from federation.errors import InvalidInputError

Cell = str | int | float | None
"""``None``: not shown, because it would tell about too few patients, or not defined."""


class Table(Document):
    """A table with named columns."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def column(self, name: str) -> list[Cell]:
        """One column.

        Raises:
            InvalidInputError: If the table has none of that name.
        """
        if name not in self.columns:
            raise InvalidInputError(
                f"expected a column of {self.name}, got {name!r}", remedy=f"use one of {self.columns}"
            )
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def numbers(self, name: str) -> list[float]:
        """One column as floats; NaN where a cell is not shown."""
        return [float(cell) if isinstance(cell, int | float) else math.nan for cell in self.column(name)]

    def as_tsv(self) -> bytes:
        """Tab-separated values with a header; an empty cell where nothing is shown; floats as their shortest decimals."""
        lines = ["\t".join(self.columns)]
        lines += ["\t".join("" if cell is None else str(cell) for cell in row) for row in self.rows]
        return ("\n".join(lines) + "\n").encode()


class Promise(Document):
    """What an analysis with privacy promised every patient of every site, for the patient to be in the records or not."""

    epsilon: float
    delta: float
    noise_multiplier: float
    """Of one release: standard deviation of the noise over the norm of a patient's vector, with the fewest sites."""
    releases: int
    """Noisy sums that the promise is for."""
    clipping: float
    """Factor of the public bounds."""

    def __str__(self) -> str:
        sums = "sum" if self.releases == 1 else "sums"
        return (
            f"epsilon {self.epsilon:g} with delta {self.delta:g} per patient over {self.releases} noisy {sums}, noise multiplier "
            f"{self.noise_multiplier:.4g}, bounds times {self.clipping:g}"
        )


class AnalysisResult(Document):
    """The result of one analysis."""

    analysis: str
    patients: int
    sites: tuple[str, ...]
    """In the sums."""
    left_out: dict[str, str] = {}
    """Sites that are not in the sums, and why."""
    figures: dict[str, float | None] = {}
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    steps: int = 0
    """Sums that were taken."""
    privacy: Annotated[Promise | None, Field(exclude_if=lambda promise: promise is None)] = None
    """``None``: exact sums."""

    def table(self, name: str) -> Table:
        """The table of that name.

        Raises:
            InvalidInputError: If there is none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise InvalidInputError(
            f"expected a table of {self.analysis}, got {name!r}", remedy=f"use one of {[t.name for t in self.tables]}"
        )


class StudyAnalysis(Document):
    """What became of an analysis that a study agreed on."""

    name: str
    """As in the manifest."""
    result: AnalysisResult | None
    """``None``: there is none, and ``error`` and ``reason`` say why."""
    error: str = ""
    """Name of an error class."""
    reason: str = ""


class Findings(Document):
    """What a solver returns; the loop adds patients and sites."""

    figures: dict[str, float | None] = {}
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def shown(value: float) -> float | None:
    """A number for a cell; ``None`` where it is not finite."""
    return float(value) if math.isfinite(value) else None
