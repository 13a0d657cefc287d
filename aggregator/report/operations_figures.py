"""Figures that a manager reads: plain titles, units on every axis, one message each.

Drawn from the tables of a report and nothing else, so no figure shows what a table hides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from aggregator.report.figures import (
    DASHES,
    INK,
    MARKERS,
    PALETTE,
    QUIET,
    Axes,
    draw_png,
    draw_svg,
    legend_below,
)
from federation.statistics.result import AnalysisResult, Cell, Table

_ROW: Final = 34.0
_FRAME: Final = 130.0
_SMALLEST: Final = 260.0
"""Below it the legend lies on the axis."""
_EVERYBODY: Final = "all"


def calibration_figures(result: AnalysisResult, *, outcome: str) -> dict[str, bytes]:
    """File name to content: predicted against observed risk, and observed over expected by site.

    Args:
        result: Of the calibration report.
        outcome: What was predicted, for the titles.
    """
    performance = result.table("performance")
    groups = list(dict.fromkeys(str(name) for name in performance.column("group")))
    return both("reliability", lambda axes: _reliability(axes, result.table("reliability"), outcome), 420.0) | both(
        "by_site", lambda axes: _ratios(axes, performance, outcome), max(_SMALLEST, _FRAME + _ROW * len(groups))
    )


def beds_figures(result: AnalysisResult) -> dict[str, bytes]:
    """File name to content: the band of the forecast against the observed beds, one and all days ahead.

    Args:
        result: Of the report on beds.
    """
    days = result.table("days")
    last = int(max(days.numbers("days ahead")))
    level = result.figures["level"] or 0.0
    found: dict[str, bytes] = {}
    for ahead in sorted({1, last}):
        found |= both(f"beds_{ahead}", partial(_band, rows=rows_of(days), ahead=ahead, level=level), 380.0)
    return found


def _band(axes: Axes, *, rows: list[Mapping[str, Cell]], ahead: int, level: float) -> None:
    own = [row for row in rows if row["group"] == _EVERYBODY and row["days ahead"] == ahead]
    names = list(dict.fromkeys(row["forecast"] for row in own))
    for place, name in enumerate(names):
        line = [row for row in own if row["forecast"] == name]
        x, mean, lower, upper = (
            [number(row[column]) for row in line] for column in ("day", "expected", "lower", "upper")
        )
        if place == 0:
            axes.fill_between(
                x, lower, upper, step="mid", color=PALETTE[0], alpha=0.18, linewidth=0, label=f"{level:.0%} interval"
            )
        width = 1.6 if place == 0 else 1.0
        axes.plot(x, mean, color=PALETTE[place], linestyle=DASHES[place], linewidth=width, label=f"expected, {name}")
        if place == 0:
            seen = [number(row["observed"]) for row in line]
            axes.plot(x, seen, color=INK, marker=MARKERS[0], markersize=3.5, linestyle="", label="observed")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("day")
    axes.set_ylabel("occupied beds (patients)")
    axes.set_title(f"Beds occupied, forecast {ahead} day{'s' if ahead > 1 else ''} ahead")
    legend_below(axes, columns=3)


def number(cell: Cell) -> float:
    """A cell as a float, NaN where it is not shown."""
    return float(cell) if isinstance(cell, int | float) else float("nan")


def stay_figures(result: AnalysisResult) -> dict[str, bytes]:
    """File name to content: mean predicted and observed stay by site.

    Args:
        result: Of the report on stays.
    """
    table = result.table("accuracy")
    groups = list(dict.fromkeys(str(name) for name in table.column("group")))
    return both(
        "stays", lambda axes: _mean_stays(axes, rows_of(table), groups), max(_SMALLEST, _FRAME + _ROW * len(groups))
    )


def _mean_stays(axes: Axes, rows: list[Mapping[str, Cell]], groups: list[str]) -> None:
    names = [name for name in dict.fromkeys(row["prediction"] for row in rows) if "median" not in str(name)]
    for place, name in enumerate(names):
        own = [row for row in rows if row["prediction"] == name and row["mean stay"] is not None]
        heights = [len(groups) - 1 - groups.index(str(row["group"])) for row in own]
        if place == 0:
            seen = [number(row["mean stay"]) for row in own]
            axes.plot(
                seen, heights, color=INK, marker="|", markersize=18, markeredgewidth=2, linestyle="", label="observed"
            )
        axes.plot(
            [number(row["mean predicted"]) for row in own], heights,
            color=PALETTE[place], marker=MARKERS[place], linestyle="", label=str(name),
        )  # fmt: skip
    hidden = {str(row["group"]) for row in rows if row["mean stay"] is None}
    _mark_hidden(axes, [len(groups) - 1 - groups.index(name) for name in hidden])
    axes.set_yticks(range(len(groups)), list(reversed(groups)))
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("mean length of stay (days)")
    axes.set_title("How long patients stayed, and were expected to stay")
    legend_below(axes, columns=2)


def both(name: str, draw: Callable[[Axes], None], height: float) -> dict[str, bytes]:
    """One figure as SVG and PNG."""
    svg = draw_svg(name, draw, width=520, height=height)
    return {f"{name}.svg": svg.encode(), f"{name}.png": draw_png(draw, width=520, height=height)}


def _reliability(axes: Axes, table: Table, outcome: str) -> None:
    rows = [row for row in rows_of(table) if row["group"] == _EVERYBODY]
    largest = max((number(row["upper"]) for row in rows), default=1.0)
    axes.plot([0, 100], [0, 100], color=QUIET, linestyle=":", linewidth=1.2, label="as predicted")
    for place, score in enumerate(dict.fromkeys(row["score"] for row in rows)):
        own = [row for row in rows if row["score"] == score]
        x, y = ([100 * number(row[name]) for row in own] for name in ("predicted", "observed"))
        spread = [[100 * abs(number(row[end]) - number(row["observed"])) for row in own] for end in ("lower", "upper")]
        axes.errorbar(
            x, y, yerr=spread, color=PALETTE[place], marker=MARKERS[place], linestyle=DASHES[place], label=str(score),
            linewidth=1.4, elinewidth=0.9, capsize=2,
        )  # fmt: skip
    edge = min(100.0, 100 * largest + 3)
    axes.set_xlim(0, edge)
    axes.set_ylim(0, edge)
    axes.set_xlabel("predicted risk (% of patients)")
    axes.set_ylabel(f"observed: {outcome} (% of patients)")
    axes.set_title("Predicted and observed risk")
    legend_below(axes, columns=3)


def _ratios(axes: Axes, table: Table, outcome: str) -> None:
    rows = rows_of(table)
    groups = list(dict.fromkeys(row["group"] for row in rows))
    scores = list(dict.fromkeys(row["score"] for row in rows))
    for place, score in enumerate(scores):
        offset = ((len(scores) - 1) / 2 - place) * 0.3
        own = [(row, len(groups) - 1 - groups.index(row["group"]) + offset) for row in rows if row["score"] == score]
        shown = [(row, height) for row, height in own if row["observed/expected"] is not None]
        for row, height in shown:
            axes.hlines(height, number(row["lower"]), number(row["upper"]), color=PALETTE[place], linewidth=1.4)
        axes.plot(
            [number(row["observed/expected"]) for row, _ in shown], [height for _, height in shown],
            color=PALETTE[place], marker=MARKERS[place], linestyle="", label=str(score),
        )  # fmt: skip
        _mark_hidden(axes, [height for row, height in own if row["observed/expected"] is None])
    axes.axvline(1.0, color=QUIET, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(groups)), [str(group) for group in reversed(groups)])
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.set_xlim(left=0.0)
    axes.set_xlabel(f"{outcome}: observed over predicted (1 = as predicted)")
    axes.set_title("More or fewer than predicted, by site")
    legend_below(axes, columns=3)


def _mark_hidden(axes: Axes, heights: list[float]) -> None:
    for height in heights:
        axes.annotate(
            "too few to show", (0.02, height), xycoords=axes.get_yaxis_transform(), va="center", color=QUIET, fontsize=9
        )


def rows_of(table: Table) -> list[Mapping[str, Cell]]:
    """Rows with the names of their columns."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
