"""The plot of a sweep: epsilon against performance, one line per algorithm, with what privacy costs beside it."""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.report.figures import DASHES, MARKERS, PALETTE, QUIET, Axes, draw_png, draw_svg, legend_below
from aggregator.report.vocabulary import metric_of
from experiments.sweep_table import SweepRow, SweepSummary


def sweep_svg(sweep: SweepSummary) -> str:
    """The plot as an SVG document."""
    return draw_svg("sweep", lambda axes: _draw(axes, sweep), width=520, height=_height(sweep))


def sweep_png(sweep: SweepSummary) -> bytes:
    """The plot as a PNG."""
    return draw_png(lambda axes: _draw(axes, sweep), width=520, height=_height(sweep))


def _height(sweep: SweepSummary) -> float:
    shown = sweep.of_metric("federated")
    return 380.0 if any(row.epsilon is not None for row in shown) else max(200.0, 110.0 + 24.0 * len(shown))


def _draw(axes: Axes, sweep: SweepSummary) -> None:
    federated = sweep.of_metric("federated")
    metric = metric_of(sweep.metric)
    if not any(row.epsilon is not None for row in federated):
        _draw_by_run(axes, federated)
        axes.set_xlabel(metric.title)
        return
    for place, (name, rows) in enumerate(_by_algorithm(federated).items()):
        _draw_algorithm(axes, name, rows, place=place, without=_without_privacy(sweep, rows))
    pooled = sweep.of_metric("pooled")
    if pooled:
        axes.axhline(_mean(pooled), color=QUIET, linewidth=1.2, linestyle=":", label="pooled records")
    ticks = sorted({row.epsilon for row in federated if row.epsilon is not None})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.3)
    axes.set_xlabel("epsilon (smaller: stronger privacy)")
    axes.set_ylabel(f"{metric.title}, all sites")
    legend_below(axes)


def _by_algorithm(rows: Sequence[SweepRow]) -> dict[str, list[SweepRow]]:
    several = len({row.study for row in rows}) > 1
    found: dict[str, list[SweepRow]] = {}
    for row in rows:
        found.setdefault(f"{row.study}, {row.algorithm}" if several else row.algorithm, []).append(row)
    return dict(sorted(found.items()))


def _without_privacy(sweep: SweepSummary, rows: Sequence[SweepRow]) -> list[SweepRow]:
    """The same algorithm without privacy: as a reference of private runs, or as runs of its own."""
    same = {(row.study, row.algorithm) for row in rows}
    candidates = [
        *sweep.of_metric("federated_non_private"),
        *(row for row in sweep.of_metric("federated") if row.epsilon is None),
    ]
    return [row for row in candidates if (row.study, row.algorithm) in same]


def _draw_algorithm(
    axes: Axes, name: str, rows: Sequence[SweepRow], *, place: int, without: Sequence[SweepRow]
) -> None:
    color, marker, dash = (style[place % len(style)] for style in (PALETTE, MARKERS, DASHES))
    by_epsilon: dict[float, list[SweepRow]] = {}
    for row in rows:
        if row.epsilon is not None:
            by_epsilon.setdefault(row.epsilon, []).append(row)
    shift = 1 + 0.015 * place  # bars of different algorithms do not hide each other
    if by_epsilon:
        epsilons = sorted(by_epsilon)
        axes.plot(
            [epsilon * shift for epsilon in epsilons],
            [_mean(by_epsilon[epsilon]) for epsilon in epsilons],
            color=color,
            linestyle=dash,
            marker=marker,
            markersize=5,
            label=name,
        )
    for epsilon, found in by_epsilon.items():
        for row in found:
            if row.lower is not None and row.upper is not None:
                axes.vlines(epsilon * shift, row.lower, row.upper, color=color, linewidth=1.2)
            if len(found) > 1:
                axes.plot([epsilon * shift], [row.value], color=color, marker=marker, markersize=3, alpha=0.5)
    if without:
        label = f"{name}, no privacy"
        axes.axhline(_mean(without), color=color, linewidth=1, linestyle=(0, (1, 2)), label=label)


def _draw_by_run(axes: Axes, rows: Sequence[SweepRow]) -> None:
    """Without any epsilon: one dot per simulation."""
    for place, row in enumerate(rows):
        if row.lower is not None and row.upper is not None:
            axes.hlines(place, row.lower, row.upper, color=PALETTE[0], linewidth=1.4)
        axes.plot([row.value], [place], color=PALETTE[0], marker="o", linestyle="none")
    axes.set_yticks(range(len(rows)), [_shortened(row.run) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"  # noqa: PLR2004 - what fits beside the axes


def _mean(rows: Sequence[SweepRow]) -> float:
    return sum(row.value for row in rows) / len(rows)
