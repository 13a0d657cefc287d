"""The result of an analysis on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from federation.statistics.result import AnalysisResult, Cell

_MOST_ROWS: Final = 20
"""More are in the file only."""


def show(console: Console, result: AnalysisResult, *, files: Sequence[Path] = ()) -> None:
    """Print tables, figures, who is in the sums, and where the files are."""
    for table in result.tables:
        shown = Table(*table.columns, title=f"{table.title}, {result.patients} patients, {len(result.sites)} sites")
        for row in table.rows[:_MOST_ROWS]:
            shown.add_row(*(cell_text(cell) for cell in row))
        console.print(shown)
        if len(table.rows) > _MOST_ROWS:
            console.print(f"{len(table.rows) - _MOST_ROWS} more rows in the file")
    for name, value in result.figures.items():
        console.print(f"{name}: {cell_text(value)}", markup=False)
    for site, reason in sorted(result.left_out.items()):
        console.print(f"left out: {site} ({reason})", markup=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    if result.privacy is not None:
        console.print(f"privacy: {result.privacy}", markup=False)
    console.print(f"sums: {result.steps}")
    for path in files:
        console.print(f"file: {path}", markup=False, soft_wrap=True)


def cell_text(cell: Cell) -> str:
    """A cell as text; a dot where nothing is shown.

    >>> cell_text(0.000123456), cell_text(12), cell_text(None)
    ('0.00012346', '12', '·')
    """
    if cell is None:
        return "·"
    return f"{cell:.5g}" if isinstance(cell, float) else str(cell)
