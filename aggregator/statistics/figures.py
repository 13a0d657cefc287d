"""Figures of analyses: survival curves and coefficients with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aggregator.report.figures import DASHES, INK, PALETTE, QUIET, Axes, draw_png, draw_svg, legend_below
from aggregator.report.follow_up_figures import follow_up_figures
from aggregator.report.operations_figures import beds_figures, calibration_figures, stay_figures
from aggregator.statistics.genotype_figures import genotype_figure_files
from federation.errors import InvalidInputError
from federation.statistics.result import AnalysisResult, Cell, StudyAnalysis, Table

_ROW: Final = 26.0
_FRAME: Final = 110.0

FIGURES: Final = {"kaplan_meier": "survival", "cox": "coefficients", "glm": "coefficients"}
"""Analysis to the name of its figure; the others have tables only."""

AS_TABLES: Final = ("association", "weights")
"""Tables that are files of their own, since other programs read them."""


def figure_files(result: AnalysisResult) -> dict[str, bytes]:
    """File name to content: each figure as SVG and PNG. Empty for an analysis without a figure."""
    name = FIGURES.get(result.analysis)
    if name is None:
        return {}
    draw, height = _drawing(result)
    svg = draw_svg(name, draw, width=520, height=height)
    return {f"{name}.svg": svg.encode(), f"{name}.png": draw_png(draw, width=520, height=height)}


def analysis_files(analysis: StudyAnalysis, *, outcome: str = "the outcome") -> dict[str, bytes]:
    """File name to content of an analysis of a launched study: what it found, or why it found nothing, and its figures.

    Args:
        analysis: Of the study.
        outcome: What its predictions are about, for titles.
    """
    files = {f"{analysis.name}.json": analysis.model_dump_json(indent=1).encode()}
    result = analysis.result
    if result is not None:
        drawn = figure_files(result)
        files |= {f"{analysis.name}{Path(name).suffix}": content for name, content in drawn.items()}
        others = genotype_figure_files(result) | report_figure_files(result, outcome=outcome)
        files |= {f"{analysis.name}-{name}": content for name, content in others.items()}
        tables = [table for table in result.tables if table.name in AS_TABLES]
        files |= {f"{analysis.name}-{table.name}.tsv": table.as_tsv() for table in tables}
    return files


def report_figure_files(result: AnalysisResult, *, outcome: str) -> dict[str, bytes]:
    """File name to content: the figures of a report on predictions. Empty for another analysis."""
    match result.analysis:
        case "calibration":
            return calibration_figures(result, outcome=outcome)
        case "follow_up":
            return follow_up_figures(result, outcome=outcome)
        case "stays":
            return stay_figures(result)
        case "beds":
            return beds_figures(result)
        case _:
            return {}


def _drawing(result: AnalysisResult) -> tuple[Callable[[Axes], None], float]:
    if result.analysis == "kaplan_meier":
        return lambda axes: draw_curves(axes, result.table("curves")), 380.0
    table = result.table("coefficients")
    return lambda axes: draw_coefficients(axes, table), _FRAME + _ROW * len(table.rows)


def draw_curves(axes: Axes, table: Table) -> None:
    """Survival curves as steps, with pointwise intervals as bands.

    Args:
        axes: To draw on.
        table: ``curves`` of a Kaplan-Meier analysis.

    Raises:
        InvalidInputError: If no point of a curve is shown.
    """
    groups = list(dict.fromkeys(str(name) for name in table.column("group")))
    if not groups:
        raise InvalidInputError(
            "expected points of a survival curve, got none", remedy="select more patients; too few events may be shown"
        )
    for place, group in enumerate(groups):
        rows = [row for row in table.rows if row[0] == group]
        of = {name: [_number(row[column]) for row in rows] for column, name in enumerate(table.columns) if column}
        times, survival = [0.0, *of["time"]], [1.0, *of["survival"]]
        color, dash = PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)]
        axes.step(times, survival, where="post", color=color, linestyle=dash, label=group)
        axes.fill_between(
            times, [1.0, *of["lower"]], [1.0, *of["upper"]], step="post", color=color, alpha=0.15, linewidth=0
        )
    axes.set_ylim(0.0, 1.02)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("time")
    axes.set_ylabel("share without the event")
    if len(groups) > 1:
        legend_below(axes, columns=3)


def draw_coefficients(axes: Axes, table: Table) -> None:
    """Estimates as dots with intervals, the intercept left out.

    Args:
        axes: To draw on.
        table: ``coefficients``.
    """
    rows = [row for row in table.rows if row[0] != "intercept"]
    place_of = {name: place for place, name in enumerate(table.columns)}
    for line, row in enumerate(reversed(rows)):
        estimate, lower, upper = (_number(row[place_of[name]]) for name in ("estimate", "lower", "upper"))
        if math.isfinite(lower) and math.isfinite(upper):
            axes.hlines(line, lower, upper, color=PALETTE[0], linewidth=1.6)
        axes.plot([estimate], [line], color=PALETTE[0], marker="o", linestyle="")
    axes.axvline(0.0, color=QUIET, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(rows)), [str(row[0]) for row in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.tick_params(axis="y", length=0, colors=INK)
    axes.set_xlabel(_label(table.title))


def _label(title: str) -> str:
    return "log hazard ratio" if title.startswith("Log hazard") else "coefficient"


def _number(cell: Cell) -> float:
    return float(cell) if isinstance(cell, int | float) else math.nan
