"""The log-rank test with privacy: observed and expected events from a noisy risk table, and a variance that includes the noise."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.inference import chi_squared_p
from federation.statistics.private.curves import NoisyTable, risk_table_release
from federation.statistics.private.sharing import PrivateSolver
from federation.statistics.result import Findings, Table
from federation.statistics.survival_steps import RiskTableStep, at_risk, log_rank_parts

FloatArray = NDArray[np.float64]

_MOST_CELLS: Final = 5000


def check_cells(step: RiskTableStep) -> None:
    """Check that the table is of a size that noise leaves something of.

    Raises:
        InvalidInputError: If not.
    """
    if step.length > _MOST_CELLS:
        raise InvalidInputError(
            f"expected at most {_MOST_CELLS} cells of a noisy risk table, got {step.length}",
            remedy="use a coarser grid",
        )


def private_log_rank(step: RiskTableStep, names: tuple[str, ...], *, clipping: float) -> PrivateSolver:
    """The test of equal survival in all groups.

    Args:
        step: By strata and groups.
        names: Of the groups.
        clipping: Factor of the bounds.

    Raises:
        InvalidInputError: If the grid is too fine.
    """
    check_cells(step)
    portions = risk_table_release(step, clipping=clipping)
    sums = yield portions
    table = NoisyTable.of(sums, portions)
    parts = _parts(table.happened, table.risk)
    difference = (parts["observed"] - parts["expected"])[:-1]
    spread = parts["variance"][:-1, :-1] + _noise(table)
    statistic = float(difference @ np.linalg.pinv((spread + spread.T) / 2) @ difference)
    degrees = len(names) - 1
    patients = table.patients.sum(axis=0)
    rows = tuple(
        (name, max(round(float(patients[place])), 0), float(parts["observed"][place]), float(parts["expected"][place]))
        for place, name in enumerate(names)
    )
    columns = ("group", "patients", "observed", "expected")
    return Findings(
        figures={
            "patients": float(patients.sum()),
            "chi-squared": statistic,
            "degrees of freedom": float(degrees),
            "p": chi_squared_p(statistic, degrees),
            "noise of a cell": table.of_leaving,
        },
        tables=(Table(name="groups", title="Log-rank test", columns=columns, rows=rows),),
        notes=("the test takes the noise into account",),
    )


def _parts(events: FloatArray, risk: FloatArray) -> dict[str, FloatArray]:
    each = [log_rank_parts(events[place], risk[place]) for place in range(len(events))]
    return {name: np.sum([item[name] for item in each], axis=0) for name in each[0]}


def _noise(table: NoisyTable) -> FloatArray:
    """``[G - 1, G - 1]`` covariance that the noise of all cells gives observed less expected, to first order."""
    entering = np.zeros_like(table.leaving) if table.entering is None else table.entering

    def difference(events: FloatArray, leaving: FloatArray, entering: FloatArray) -> FloatArray:
        risk = np.maximum(at_risk(leaving, entering), 0.0)
        parts = _parts(np.clip(events, 0.0, risk), risk)
        return (parts["observed"] - parts["expected"])[:-1]

    parts = [(table.events, table.of_events), (table.leaving, table.of_leaving)]
    parts += [] if table.entering is None else [(entering, table.of_leaving)]
    at = [table.events, table.leaving, entering]
    size = table.events.shape[1] - 1
    total = np.zeros((size, size))
    for which, (cells, deviation) in enumerate(parts):
        step = max(deviation, 1.0) * 1e-3
        for cell in np.ndindex(cells.shape):
            ends: list[FloatArray] = []
            for sign in (1.0, -1.0):
                moved = [each.copy() if place == which else each for place, each in enumerate(at)]
                moved[which][cell] += sign * step
                ends.append(difference(*moved))
            slope = (ends[0] - ends[1]) / (2 * step)
            total += np.outer(slope, slope) * deviation**2
    return total
