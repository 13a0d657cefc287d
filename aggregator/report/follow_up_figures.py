"""Figures about following patients up: how risk and outcome go together, and what a capacity reaches.

Drawn from the tables of a report and nothing else, so no figure shows what a table hides.
"""

from __future__ import annotations

from typing import Final

from aggregator.report.figures import INK, MARKERS, PALETTE, QUIET, Axes, legend_below
from aggregator.report.operations_figures import both, number, rows_of
from federation.statistics.result import AnalysisResult, Table

_EVERYBODY: Final = "all"
_ROW: Final = 26.0
_FRAME: Final = 130.0
_SMALLEST: Final = 260.0


def follow_up_figures(result: AnalysisResult, *, outcome: str) -> dict[str, bytes]:
    """File name to content: risk groups, what a capacity reaches, and the number needed to follow up by site.

    Args:
        result: Of the report on follow-up.
        outcome: What was predicted.
    """
    groups, reach, capacity = (result.table(name) for name in ("risk_groups", "reach", "capacity"))
    share = result.figures["capacity"] or 0.0
    height = max(_SMALLEST, _FRAME + _ROW * len(capacity.rows))
    return (
        both("risk_groups", lambda axes: _risk_groups(axes, groups, outcome), 380.0)
        | both("reach", lambda axes: _reach(axes, reach, capacity, outcome=outcome, share=share), 400.0)
        | both("needed", lambda axes: _needed(axes, capacity, outcome, share), height)
    )


def _risk_groups(axes: Axes, table: Table, outcome: str) -> None:
    rows = [row for row in rows_of(table) if row["group"] == _EVERYBODY]
    places = list(range(1, len(rows) + 1))
    observed = [100 * number(row["observed"]) for row in rows]
    spread = [[100 * abs(number(row[end]) - number(row["observed"])) for row in rows] for end in ("lower", "upper")]
    axes.bar(places, observed, color=PALETTE[0], alpha=0.45, label=f"{outcome}, observed")
    axes.errorbar(places, observed, yerr=spread, color=PALETTE[0], linestyle="", elinewidth=1.0, capsize=2)
    predicted = [100 * number(row["predicted"]) for row in rows]
    axes.plot(places, predicted, color=PALETTE[1], marker=MARKERS[1], label="predicted")
    axes.set_xticks(places)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("groups of equal size, from lowest to highest predicted risk")
    axes.set_ylabel("share of patients (%)")
    axes.set_title(f"{outcome.capitalize()}, by predicted risk")
    legend_below(axes)


def _reach(axes: Axes, table: Table, capacity: Table, *, outcome: str, share: float) -> None:
    x = [0.0, *(100 * value for value in table.numbers("share followed up"))]
    y = [0.0, *(100 * value for value in table.numbers("share reached"))]
    axes.plot(x, y, color=PALETTE[0], marker=MARKERS[0], markersize=3.5, label="highest predicted risk first")
    axes.plot([0, 100], [0, 100], color=QUIET, linestyle=":", label="at random")
    row = rows_of(capacity)[-1]
    if row["share reached"] is not None:
        reached = 100 * number(row["share reached"])
        axes.plot(
            [100 * share],
            [reached],
            color=PALETTE[1],
            marker=MARKERS[3],
            markersize=8,
            linestyle="",
            label=f"top {share:.0%}",
        )
        axes.annotate(
            f"{reached:.0f}% reached;\n{number(row['needed to follow up']):.1f} followed up for one",
            (100 * share, reached), xytext=(14, -4), textcoords="offset points", va="top", color=INK, fontsize=10,
        )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xlabel("patients followed up (%)")
    axes.set_ylabel(f"of all {outcome}: reached (%)")
    axes.set_title("What following up reaches")
    legend_below(axes, columns=3)


def _needed(axes: Axes, table: Table, outcome: str, share: float) -> None:
    rows = list(reversed(rows_of(table)))
    for name, place in (("needed to follow up", 0), ("needed at random", 1)):
        shown = [(height, number(row[name])) for height, row in enumerate(rows) if row[name] is not None]
        axes.plot(
            [value for _, value in shown], [height for height, _ in shown], color=PALETTE[place],
            marker=MARKERS[place], linestyle="", label=f"top {share:.0%} by predicted risk" if place == 0 else "at random",
        )  # fmt: skip
    for height, row in enumerate(rows):
        if row["needed to follow up"] is None:
            axes.annotate(
                "too few to show",
                (0.02, height),
                xycoords=axes.get_yaxis_transform(),
                va="center",
                color=QUIET,
                fontsize=9,
            )
    axes.set_yticks(range(len(rows)), [str(row["group"]) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(left=0.0)
    axes.set_xlabel(f"patients followed up for one {outcome}")
    axes.set_title("How many to follow up to reach one")
    legend_below(axes)
