"""Figures of analyses show what their tables show, and nothing of a curve that is not shown."""

from __future__ import annotations

import pytest

from aggregator.statistics.figures import figure_files
from federation.errors import InvalidInputError
from federation.statistics.result import AnalysisResult, Table
from federation.statistics.survival import CURVE_COLUMNS


def result(analysis: str, table: Table) -> AnalysisResult:
    return AnalysisResult(analysis=analysis, patients=100, sites=("a", "b", "c"), tables=(table,))


def test_a_curve_without_an_interval_at_its_end_is_drawn() -> None:
    rows = (
        ("late", 3.0, 40, 5, 0.8, 0.05, 0.7, 0.9, 0.2, 0.05),
        ("late", 9.0, 5, 5, 0.0, 0.0, None, None, 1.2, 0.3),
        ("early", 4.0, 50, 6, 0.9, 0.05, 0.8, 0.95, 0.1, 0.05),
    )
    files = figure_files(result("kaplan_meier", Table(name="curves", title="x", columns=CURVE_COLUMNS, rows=rows)))
    assert set(files) == {"survival.svg", "survival.png"}
    svg = files["survival.svg"].decode()
    assert svg.index(">late<") < svg.index(">early<")


def test_no_point_is_no_figure() -> None:
    with pytest.raises(InvalidInputError, match="points of a survival curve, got none"):
        figure_files(result("kaplan_meier", Table(name="curves", title="x", columns=CURVE_COLUMNS, rows=())))


def test_coefficients_without_errors_are_dots_and_the_intercept_is_left_out() -> None:
    columns = ("term", "estimate", "standard error", "statistic", "p", "lower", "upper")
    rows = (("intercept", 9.0, *[None] * 5), ("age", 0.5, *[None] * 5), ("male", -0.2, 0.1, -2.0, 0.04, -0.4, -0.0))
    table = Table(name="coefficients", title="Log hazard ratios", columns=columns, rows=rows)
    svg = figure_files(result("cox", table))["coefficients.svg"].decode()
    assert "intercept" not in svg
    assert all(name in svg for name in ("age", "male", "log hazard ratio"))


def test_a_table_alone_has_no_figure() -> None:
    assert figure_files(result("describe", Table(name="x", title="x", columns=("a",), rows=()))) == {}
