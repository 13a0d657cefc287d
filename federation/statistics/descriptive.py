"""Descriptive tables over all sites: numbers, levels and cross-tabulations, with small counts hidden.

Moments are taken about the mean in a second sum, so that a mean far from zero costs no digits. Skewness is the adjusted
Fisher-Pearson coefficient (Joanes & Gill 1998, G1). Quantiles are read from a histogram on agreed edges: of whole numbers they
are exact (inverse of the distribution function), of others within the width of a bin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import Binary, Categorical, Continuous, DataContract, Integer, Ordinal, Variable
from federation.errors import ConfigurationError
from federation.statistics.derivable import suppress_cross_table
from federation.statistics.descriptive_steps import Grid, HistogramStep, LevelCountStep, Levels, MomentStep, Scaled
from federation.statistics.disclosure import is_small, suppress_counts
from federation.statistics.inference import chi_squared_p
from federation.statistics.result import Cell, Findings, Table, shown
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]


def level_names(variable: Variable) -> tuple[str, ...]:
    """Names of a variable's levels; ``no`` and ``yes`` of a binary one.

    Raises:
        ConfigurationError: If it is a number.
    """
    if isinstance(variable, Binary):
        return ("no", "yes")
    if isinstance(variable, Categorical | Ordinal):
        return variable.levels
    raise ConfigurationError(
        f"expected a variable with levels, got {variable.name} of kind {variable.kind!r}",
        remedy="choose another variable",
    )


def describe(
    variables: tuple[Variable, ...],
    *,
    patients: int,
    threshold: int,
    quantiles: tuple[float, ...] = (0.25, 0.5, 0.75),
    bins: int = 1000,
) -> Solver[Findings]:
    """Describe every variable: numbers by moments and quantiles, the rest by counts of levels.

    Args:
        variables: Of the contract.
        patients: Of the selection.
        threshold: Smallest count that is shown.
        quantiles: Between 0 and 1.
        bins: Of the histogram of a number that is not whole.
    """
    numbers = tuple(v for v in variables if isinstance(v, Continuous | Integer))
    tables: list[Table] = []
    if numbers:
        moments = yield from _moments(numbers, threshold=threshold)
        rows: list[tuple[Cell, ...]] = []
        for number, (known, *cells) in zip(numbers, moments, strict=True):
            found = yield from _quantiles(number, known, quantiles, bins=bins, threshold=threshold)
            rows.append((number.name, *_known(known, patients, threshold), *cells, *found))
        names = ("mean", "standard deviation", "variance", "skewness", *(f"q{100 * q:g}" for q in quantiles))
        tables.append(
            Table(name="numbers", title="Numbers", columns=("variable", "known", "missing", *names), rows=tuple(rows))
        )
    level_rows: list[tuple[Cell, ...]] = []
    for variable in variables:
        if not isinstance(variable, Continuous | Integer):
            level_rows += yield from _levels(variable, patients=patients, threshold=threshold)
    if level_rows:
        columns = ("variable", "level", "patients", "share")
        tables.append(Table(name="levels", title="Levels", columns=columns, rows=tuple(level_rows)))
    return Findings(tables=tuple(tables), notes=(_hidden_note(threshold),))


def cross_tabulate(rows: Variable, columns: Variable, *, threshold: int) -> Solver[Findings]:
    """Counts of every pair of levels, with margins.

    Args:
        rows: A variable with levels.
        columns: Another.
        threshold: Smallest count that is shown.
    """
    row_names, column_names = level_names(rows), level_names(columns)
    step = LevelCountStep(
        coded=(
            Levels(variable=rows.name, levels=len(row_names)),
            Levels(variable=columns.name, levels=len(column_names)),
        )
    )
    counts = (yield step)["counts"]
    hidden = suppress_cross_table(counts, threshold)
    margins = counts.sum(axis=1), counts.sum(axis=0)
    body = [
        (name, *_cells(counts[place], hidden.cells[place]), *_cells(margins[0][[place]], hidden.rows[[place]]))
        for place, name in enumerate(row_names)
    ]
    total = None if hidden.total else round(float(counts.sum()))
    body.append(("total", *_cells(margins[1], hidden.columns), total))
    table = Table(
        name="counts",
        title=f"{rows.name} by {columns.name}",
        columns=(rows.name, *column_names, "total"),
        rows=tuple(body),
    )
    figures = {} if hidden.any else _association(counts)
    notes = (_hidden_note(threshold),) + (() if not hidden.any else ("no test: some counts are hidden",))
    return Findings(figures=figures, tables=(table,), notes=notes)


def _moments(
    numbers: tuple[Continuous | Integer, ...], *, threshold: int
) -> Solver[list[tuple[float, Cell, Cell, Cell, Cell]]]:
    """Of each number: how many are known, mean, standard deviation, variance and skewness."""
    halves = [(number.maximum - number.minimum) / 2 for number in numbers]
    scaled = tuple(
        Scaled(variable=number.name, centre=(number.minimum + number.maximum) / 2, scale=half)
        for number, half in zip(numbers, halves, strict=True)
    )
    first = yield MomentStep(numbers=scaled)
    known = first["known"]
    shift = first["powers"][:, 0] / np.maximum(known, 1.0)
    means = [item.centre + item.scale * move for item, move in zip(scaled, shift.tolist(), strict=True)]
    about = tuple(item.model_copy(update={"centre": mean}) for item, mean in zip(scaled, means, strict=True))
    second = yield MomentStep(numbers=about)
    found: list[tuple[float, Cell, Cell, Cell, Cell]] = []
    for place, half in enumerate(halves):
        n = float(known[place])
        if n < max(threshold, 1):
            found.append((n, None, None, None, None))
            continue
        rest, squares, cubes = second["powers"][place] / n
        mean = means[place] + rest * half
        central = squares - rest**2
        variance = central * half**2 * n / (n - 1) if n > 1 else np.nan
        third = cubes - 3 * rest * squares + 2 * rest**3
        skew = np.sqrt(n * (n - 1)) / (n - 2) * third / central**1.5 if n > 2 and central > 0 else np.nan  # noqa: PLR2004
        found.append((n, shown(mean), shown(float(np.sqrt(variance))), shown(variance), shown(skew)))
    return found


def _quantiles(
    number: Continuous | Integer, known: float, quantiles: tuple[float, ...], *, bins: int, threshold: int
) -> Solver[tuple[Cell, ...]]:
    grid = quantile_grid(number, bins=bins)
    counts = (yield HistogramStep(grid=grid))["counts"]
    return tuple(
        quantile_of(counts, grid, share) if known * min(share, 1 - share) >= threshold and known >= 1 else None
        for share in quantiles
    )


def quantile_grid(number: Continuous | Integer, *, bins: int) -> Grid:
    """Agreed bins of a number: one for each whole number if there are few enough, otherwise so many of one width."""
    if isinstance(number, Integer) and number.maximum - number.minimum < bins:
        return Grid(
            variable=number.name, start=number.minimum, width=1.0, bins=int(number.maximum - number.minimum) + 1
        )
    return Grid(variable=number.name, start=number.minimum, width=(number.maximum - number.minimum) / bins, bins=bins)


def quantile_of(counts: FloatArray, grid: Grid, share: float) -> float:
    """The value below or at which this share lies. Within a bin wider than a whole number, values are taken to lie evenly."""
    reached = np.cumsum(counts)
    wanted = share * reached[-1]
    place = int(np.searchsorted(reached, wanted - 1e-9 * max(1.0, wanted)))
    start = grid.start + place * grid.width
    if grid.width == 1.0 and float(grid.start).is_integer():
        return start
    before = reached[place] - counts[place]
    return float(start + grid.width * (wanted - before) / counts[place])


def _levels(variable: Variable, *, patients: int, threshold: int) -> Solver[list[tuple[Cell, ...]]]:
    names = level_names(variable)
    counts = (yield LevelCountStep(coded=(Levels(variable=variable.name, levels=len(names)),)))["counts"]
    missing = patients - counts.sum()
    everybody = np.append(counts, missing)
    hidden = suppress_counts(everybody, threshold)
    cells = _cells(everybody, hidden)
    return [
        (variable.name, name, cell, None if cell is None or patients == 0 else cell / patients)
        for name, cell in zip((*names, "(missing)"), cells, strict=True)
    ]


def _cells(counts: FloatArray, hidden: NDArray[np.bool_]) -> tuple[int | None, ...]:
    return tuple(
        None if hide else round(float(count)) for count, hide in zip(counts.tolist(), hidden.tolist(), strict=True)
    )


def _known(known: float, patients: int, threshold: int) -> tuple[Cell, Cell]:
    """Known and missing; neither, if one of them tells about too few."""
    missing = patients - known
    hides = bool(is_small(np.array([known, missing]), threshold).any())
    return (None, None) if hides else (round(known), round(missing))


def _association(counts: FloatArray) -> dict[str, float | None]:
    """Pearson's chi-squared test without correction, over rows and columns that have anybody."""
    used = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(used.shape, default=0) < 2:  # noqa: PLR2004
        return {}
    expected = np.outer(used.sum(axis=1), used.sum(axis=0)) / used.sum()
    statistic = float(((used - expected) ** 2 / expected).sum())
    degrees = (used.shape[0] - 1) * (used.shape[1] - 1)
    return {"chi-squared": statistic, "degrees of freedom": float(degrees), "p": chi_squared_p(statistic, degrees)}


def _hidden_note(threshold: int) -> str:
    return f"a dot hides counts of 1 to {threshold - 1} patients, and others from which these would follow"


def numbers_of(contract: DataContract) -> tuple[Variable, ...]:
    """Every variable of a contract that is a number."""
    return tuple(variable for variable in contract.columns if isinstance(variable, Continuous | Integer))
