"""Standard errors, intervals and p-values from estimates and their covariance. Wald tests: Wald 1943; ratios: Wilks 1938."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federation.statistics.result import Cell, Table, shown

FloatArray = NDArray[np.float64]

COLUMNS = ("term", "estimate", "standard error", "statistic", "p", "lower", "upper")


def coefficient_table(
    names: tuple[str, ...],
    estimates: FloatArray,
    covariance: FloatArray | None,
    *,
    confidence: float,
    degrees: float | None = None,
    title: str = "Coefficients",
) -> Table:
    """A row per coefficient.

    Args:
        names: p terms.
        estimates: ``[p]``.
        covariance: ``[p, p]``; ``None``: of penalised estimates, which have no standard errors here.
        confidence: Of the intervals, such as 0.95.
        degrees: Of freedom of Student's t; ``None``: the normal distribution.
        title: Of the table.
    """
    rows: list[tuple[Cell, ...]] = []
    for place, name in enumerate(names):
        estimate = float(estimates[place])
        if covariance is None:
            rows.append((name, estimate, None, None, None, None, None))
            continue
        error = float(np.sqrt(covariance[place, place]))
        rows.append((name, estimate, *_wald(estimate, error, confidence=confidence, degrees=degrees)))
    return Table(name="coefficients", title=title, columns=COLUMNS, rows=tuple(rows))


def _wald(estimate: float, error: float, *, confidence: float, degrees: float | None) -> tuple[Cell, ...]:
    from scipy import stats

    statistic = estimate / error if error > 0 else float("nan")
    tail = 0.5 + confidence / 2
    if degrees is None:
        p, width = 2 * float(stats.norm.sf(abs(statistic))), float(stats.norm.ppf(tail))
    else:
        p, width = 2 * float(stats.t.sf(abs(statistic), degrees)), float(stats.t.ppf(tail, degrees))
    lower, upper = estimate - width * error, estimate + width * error
    return (shown(error), shown(statistic), shown(p), shown(lower), shown(upper))


def chi_squared_p(statistic: float, degrees: int) -> float:
    """Chance of a larger value of a chi-squared variable."""
    from scipy import stats

    return float(stats.chi2.sf(statistic, degrees))


def normal_width(confidence: float) -> float:
    """Half width of an interval in standard errors."""
    from scipy import stats

    return float(stats.norm.ppf(0.5 + confidence / 2))
