"""Counts of a cross-tabulation that follow from what is shown of it, and more cells to hide until no small one does.

A hidden count follows from shown ones if every table with those shown counts and no negative count has the same number there.
That each line hides two cells is not enough: two blocks of hidden cells that one hidden cell joins give it away, as the difference
of a block's rows and columns (Hundepool et al. 2012, section 4.3). A table with margins is a network: a count flows from its row to
its column, a row's margin from a source to the row, a column's margin from the column to a sink. Hidden counts are the arcs whose
flow may change. One of them can change if and only if the residual network has a cycle through it (Gusfield 1988, A Graph Theoretic
Approach to Statistical Data Security, SIAM Journal on Computing 17), and then by one patient: whole numbers give nothing more away.

Axis names: r rows, c columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federation.statistics.disclosure import is_small, suppress_counts, suppress_table

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]


class _Arc(NamedTuple):
    """A hidden count of patients."""

    tail: int
    head: int
    patients: int
    row: int
    column: int
    """Of the cell; of a margin, one of them is -1."""


@dataclass(frozen=True)
class HiddenCounts:
    """What a cross-tabulation hides.

    Args:
        cells: ``[r, c]``.
        rows: ``[r]``, of the margin at the right.
        columns: ``[c]``, of the margin below.
        total: Whether the number of all is hidden.
    """

    cells: Mask
    rows: Mask
    columns: Mask
    total: bool

    @property
    def any(self) -> bool:
        """Whether anything is hidden."""
        return bool(self.cells.any() or self.rows.any() or self.columns.any() or self.total)


def suppress_cross_table(counts: FloatArray, threshold: int) -> HiddenCounts:
    """Where a cross-tabulation hides its counts, so that no count from 1 to one below the threshold is shown or follows.

    Margins are hidden as one-way tables would hide them, since another table may show them; cells are hidden until nothing follows.

    Args:
        counts: ``[r, c]``.
        threshold: Smallest count that is shown.
    """
    hidden = HiddenCounts(
        cells=suppress_table(counts, threshold),
        rows=suppress_counts(counts.sum(axis=1), threshold),
        columns=suppress_counts(counts.sum(axis=0), threshold),
        total=bool(is_small(counts.sum(), threshold)),
    )
    while (exposed := next(derivable(counts, hidden, threshold), None)) is not None and not hidden.cells.all():
        hidden.cells[_next_cell(counts, hidden.cells, *exposed)] = True
    return hidden


def derivable(counts: FloatArray, hidden: HiddenCounts, threshold: int) -> Iterator[tuple[int, int]]:
    """Small hidden counts that follow from the shown ones, as row and column; one of them is -1 for a margin.

    Args:
        counts: ``[r, c]``.
        hidden: What is not shown.
        threshold: Smallest count that is shown.
    """
    arcs = list(_arcs(counts, hidden))
    for place, arc in enumerate(arcs):
        if is_small(np.array(float(arc.patients)), threshold) and not _can_change(
            arcs, place, nodes=sum(counts.shape) + 2
        ):
            yield arc.row, arc.column


def _arcs(counts: FloatArray, hidden: HiddenCounts) -> Iterator[_Arc]:
    num_rows, num_columns = counts.shape
    source, first_column = 0, 1 + num_rows
    sink = source if hidden.total else first_column + num_columns  # a hidden total fixes nothing between the two
    for row, column in np.argwhere(hidden.cells).tolist():
        yield _Arc(1 + row, first_column + column, round(float(counts[row, column])), row, column)
    for row in np.flatnonzero(hidden.rows).tolist():
        yield _Arc(source, 1 + row, round(float(counts[row].sum())), row, -1)
    for column in np.flatnonzero(hidden.columns).tolist():
        yield _Arc(first_column + column, sink, round(float(counts[:, column].sum())), -1, column)


def _can_change(arcs: list[_Arc], place: int, *, nodes: int) -> bool:
    """Whether one patient more, or fewer, is possible there, if others change as well."""
    ways: list[list[int]] = [[] for _ in range(nodes)]
    for number, arc in enumerate(arcs):
        if number != place:
            ways[arc.tail].append(arc.head)
            if arc.patients > 0:
                ways[arc.head].append(arc.tail)
    tail, head = arcs[place].tail, arcs[place].head
    return _reaches(ways, head, tail) or (arcs[place].patients > 0 and _reaches(ways, tail, head))


def _reaches(ways: list[list[int]], start: int, end: int) -> bool:
    seen, waiting = {start}, deque([start])
    while waiting:
        node = waiting.popleft()
        if node == end:
            return True
        new = [other for other in ways[node] if other not in seen]
        seen.update(new)
        waiting.extend(new)
    return False


def _next_cell(counts: FloatArray, hidden: Mask, row: int, column: int) -> tuple[int, int]:
    """Which cell to hide next: the smallest of the exposed count's lines that has anybody, or else of the table."""
    near = np.zeros_like(hidden)
    near[row if row >= 0 else slice(None), :] |= row >= 0
    near[:, column if column >= 0 else slice(None)] |= column >= 0
    for allowed in (near & (counts > 0), counts > 0, near, np.ones_like(hidden)):
        candidates = np.argwhere(allowed & ~hidden)
        if len(candidates):
            best = candidates[int(np.argmin([counts[tuple(place)] for place in candidates]))]
            return int(best[0]), int(best[1])
    raise AssertionError  # asked only while a cell is shown
