"""Tables with privacy: counts with noise, cut at zero, and a test that knows of the noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import Variable
from federation.statistics.descriptive import level_names
from federation.statistics.descriptive_steps import LevelCountStep, Levels
from federation.statistics.inference import normal_width
from federation.statistics.private.sharing import NOISE, PrivateSolver, shared
from federation.statistics.private_step import Portion
from federation.statistics.result import Cell, Findings, Table

FloatArray = NDArray[np.float64]


def levels_step(*variables: Variable) -> LevelCountStep:
    """Counts of every combination of levels."""
    return LevelCountStep(coded=tuple(Levels(variable=each.name, levels=len(level_names(each))) for each in variables))


def table_release(rows: Variable, columns: Variable, *, clipping: float) -> tuple[Portion, ...]:
    """A patient is in one cell."""
    return shared([(levels_step(rows, columns), {"counts": (1.0, 1.0)})], clipping=clipping)


def private_table(rows: Variable, columns: Variable, *, clipping: float, confidence: float = 0.95) -> PrivateSolver:
    """A cross-tabulation from one noisy sum.

    Margins are sums of noisy cells, so the table adds up. Cells are cut at zero in the table; the test takes them as they are.

    Args:
        rows: A variable with levels.
        columns: Another.
        clipping: Factor of the bound.
        confidence: Of the cells' intervals.
    """
    portions = table_release(rows, columns, clipping=clipping)
    sums = yield portions
    counts = sums["0.counts"]
    deviation = float(sums[NOISE]) * portions[0].scales["counts"]
    shown = np.maximum(np.rint(counts), 0).astype(np.int64)
    body: list[tuple[Cell, ...]] = [
        (name, *(int(count) for count in line), int(line.sum()))
        for name, line in zip(level_names(rows), shown, strict=True)
    ]
    body.append(("total", *(int(total) for total in shown.sum(axis=0)), int(shown.sum())))
    table = Table(
        name="counts",
        title=f"{rows.name} by {columns.name}",
        columns=(rows.name, *level_names(columns), "total"),
        rows=tuple(body),
    )
    figures: dict[str, float | None] = {"patients": float(counts.sum()), "noise of a cell": deviation}
    noise = (
        f"counts carry noise of standard deviation {deviation:.3g}, cells of 0 or less are shown as 0: a count is within "
        f"{normal_width(confidence) * deviation:.3g} of the true one with probability {confidence:g}"
    )
    return Findings(
        figures={**figures, **noisy_association(counts, deviation=deviation)},
        tables=(table,),
        notes=(noise, "the test takes the noise into account"),
    )


def noisy_association(counts: FloatArray, *, deviation: float) -> dict[str, float | None]:
    """Pearson's statistic of noisy counts, and its chance under independence with the noise in it.

    Each cell's noise adds ``deviation**2 / expected`` to the variance of its part. The statistic is then a weighted sum of squared
    normals, which is matched in mean and variance by a scaled chi-squared variable (Satterthwaite 1946; for noisy tables: Kifer &
    Rogers 2017, section 4). Without noise this is the chi-squared test.

    Args:
        counts: ``[rows, columns]`` as they were opened.
        deviation: Of the noise of a cell.
    """
    from scipy import stats

    total = float(counts.sum())
    least = max(deviation, 1.0)
    used = counts[counts.sum(axis=1) > least][:, counts.sum(axis=0) > least]
    if min(used.shape, default=0) < 2 or total <= 0:  # noqa: PLR2004
        return {"chi-squared": None, "p": None}
    rows, columns = used.sum(axis=1) / used.sum(), used.sum(axis=0) / used.sum()
    expected = np.maximum(np.outer(rows, columns) * used.sum(), 1e-9)
    statistic = float(((used - expected) ** 2 / expected).sum())
    # What is left of cells after rows and columns are fitted, in units of the square root of what is expected.
    apart = np.kron(_off(np.sqrt(rows)), _off(np.sqrt(columns)))
    spread = apart @ (np.eye(used.size) + np.diag(deviation**2 / expected.ravel())) @ apart
    weights = np.linalg.eigvalsh(spread)
    mean, square = float(weights.sum()), float((weights**2).sum())
    p = float(stats.chi2.sf(statistic * mean / square, mean**2 / square))
    return {"chi-squared": statistic, "p": p if math.isfinite(p) else None}


def _off(direction: FloatArray) -> FloatArray:
    """The projection that takes a direction of length one away."""
    return np.eye(len(direction)) - np.outer(direction, direction)
