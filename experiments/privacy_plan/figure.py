"""The picture of an epsilon-utility curve."""

from __future__ import annotations

from aggregator.report.figures import PALETTE, QUIET, Axes, draw_svg, legend_below
from experiments.privacy_plan.curve import UtilityCurve

_GUESSING = 0.5


def utility_svg(curve: UtilityCurve) -> str:
    """The curve as an SVG document, which says by itself that it is a rehearsal."""
    return draw_svg("utility", lambda axes: _draw(axes, curve), width=520, height=380)


def _draw(axes: Axes, curve: UtilityCurve) -> None:
    shown = [
        (point.epsilon, point.metric)
        for point in reversed(curve.points)
        if point.epsilon is not None and point.metric is not None
    ]
    color, several = PALETTE[0], len(curve.seeds) > 1
    if shown:
        label = f"mean of {len(curve.seeds)} seeds, {curve.confidence_level:.0%} interval" if several else "one seed"
        axes.plot(
            [epsilon for epsilon, _ in shown],
            [spread.mean for _, spread in shown],
            color=color,
            marker="o",
            label=label,
        )
    for epsilon, spread in shown:
        if spread.lower is not None and spread.upper is not None:
            axes.vlines(epsilon, spread.lower, spread.upper, color=color, linewidth=1.4)
            axes.plot(
                [epsilon] * len(spread.values), spread.values, color=color, marker="o", markersize=3, alpha=0.4, ls=""
            )
    plain = curve.points[0].metric
    if plain is not None:
        axes.axhline(plain.mean, color=PALETTE[1], linestyle="--", linewidth=1.2, label="without privacy")
        if plain.lower is not None and plain.upper is not None:
            axes.axhspan(plain.lower, plain.upper, color=PALETTE[1], alpha=0.12, linewidth=0)
    if curve.metric == "auroc":
        axes.axhline(_GUESSING, color=QUIET, linestyle=":", linewidth=1.2, label="guessing")
    ticks = sorted({point.epsilon for point in curve.points if point.epsilon is not None})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.3)
    axes.set_title("Rehearsal on generated patients", loc="left")
    axes.set_xlabel("epsilon (smaller: stronger privacy)")
    axes.set_ylabel(f"{curve.title}, held-out generated patients")
    legend_below(axes)
