"""The Mantel-Haenszel odds ratio of two-by-two tables, stratified by site or by a variable.

Mantel & Haenszel 1959; variance of the log odds ratio by Robins, Breslow & Greenland 1986; test by Cochran 1954 and Mantel &
Haenszel, without continuity correction. Stratified by site, each site sends what its own table adds to the sums and never the
table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.identifiers import VariableName
from federation.statistics.descriptive_steps import LevelCountStep, Levels
from federation.statistics.disclosure import is_small
from federation.statistics.inference import chi_squared_p, normal_width
from federation.statistics.result import Findings, Table, shown
from federation.statistics.step import Columns, Shapes, Solver, Step
from federation.statistics.survival import check_strata

FloatArray = NDArray[np.float64]

_PARTS = ("r", "s", "pr", "ps_qr", "qs", "observed", "expected", "variance")


class MantelHaenszelStep(Step):
    """What the two-by-two table of each site adds."""

    is_additive: ClassVar[bool] = False
    kind: Literal["mantel_haenszel"] = "mantel_haenszel"
    exposure: VariableName
    outcome: VariableName

    def shapes(self) -> Shapes:
        """``parts`` as in :func:`table_parts`; ``table`` ``[2, 2]``: counts over all sites, of which nothing is shown."""
        return {"parts": (len(_PARTS),), "table": (2, 2)}

    def variables(self) -> frozenset[str]:
        """Exposure and outcome."""
        return frozenset({self.exposure, self.outcome})

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        coded = (Levels(variable=self.exposure, levels=2), Levels(variable=self.outcome, levels=2))
        table = LevelCountStep(coded=coded).summarise(columns)["counts"]
        return {"parts": table_parts(table[None]), "table": table}


def table_parts(tables: FloatArray) -> FloatArray:
    """Sums over strata of what the odds ratio, its variance and the test need.

    Args:
        tables: ``[S, 2, 2]``: exposure (no, yes) by outcome (no, yes).

    Returns:
        In the order R, S, PR, PS + QR, QS of Robins et al.; observed and expected exposed cases and their variance.
    """
    found = np.zeros(len(_PARTS))
    for table in tables:
        n = table.sum()
        if n < 2:  # noqa: PLR2004
            continue
        d, c, b, a = table[0, 0], table[0, 1], table[1, 0], table[1, 1]
        r, s, p, q = a * d / n, b * c / n, (a + d) / n, (b + c) / n
        exposed, cases = a + b, a + c
        spread = exposed * (n - exposed) * cases * (n - cases) / (n**2 * (n - 1))
        found += np.array([r, s, p * r, p * s + q * r, q * s, a, exposed * cases / n, spread])
    return found


def mantel_haenszel(
    exposure: VariableName, outcome: VariableName, *, threshold: int, confidence: float, strata: Levels | None = None
) -> Solver[Findings]:
    """The common odds ratio, its interval, and the test that it is 1.

    Args:
        exposure: A binary variable.
        outcome: Another.
        threshold: Smallest margin that may be.
        confidence: Of the interval.
        strata: A variable; ``None``: by site.

    Raises:
        InvalidInputError: If a stratum is empty or no stratum says anything about the ratio.
    """
    if strata is None:
        sums = yield MantelHaenszelStep(exposure=exposure, outcome=outcome)
        parts, table = sums["parts"], sums["table"]
    else:
        coded = (strata, Levels(variable=exposure, levels=2), Levels(variable=outcome, levels=2))
        tables = (yield LevelCountStep(coded=coded))["counts"]
        check_strata(tables.sum(axis=(1, 2)))
        parts, table = table_parts(tables), tables.sum(axis=0)
    margins = np.concatenate([table.sum(axis=0), table.sum(axis=1)])
    if is_small(margins, threshold).any() or parts[0] <= 0 or parts[1] <= 0:
        raise InvalidInputError(
            f"expected at least {threshold} exposed, unexposed, cases and controls, and strata that compare them",
            remedy="select other patients or stratify by a variable with fewer levels",
        )
    r, s, pr, mixed, qs, observed, expected, variance = parts.tolist()
    log_ratio = float(np.log(r / s))
    error = float(np.sqrt(pr / (2 * r**2) + mixed / (2 * r * s) + qs / (2 * s**2)))
    width = normal_width(confidence) * error
    statistic = (observed - expected) ** 2 / variance
    row = (float(np.exp(log_ratio)), log_ratio, error, *(shown(float(np.exp(log_ratio + x))) for x in (-width, width)))
    columns = ("odds ratio", "log odds ratio", "standard error", "lower", "upper")
    return Findings(
        figures={"chi-squared": statistic, "p": chi_squared_p(statistic, 1)},
        tables=(Table(name="odds_ratio", title="Mantel-Haenszel odds ratio", columns=columns, rows=(row,)),),
        notes=("stratified by site",) if strata is None else (),
    )
