"""Figures by round: the global model, the size of its change and the privacy spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aggregator.report.content import RoundPoint, StudyReport
from aggregator.report.figures import PALETTE, QUIET, Axes, Picture, draw_svg, legend_below
from aggregator.report.vocabulary import metric_of

_SEEN = "seen by the simulator, not released"


def round_figures(report: StudyReport) -> tuple[Picture, ...]:
    """The global model after each round, the size of its change, and the privacy spent."""
    rounds = report.convergence
    if not rounds:
        return ()
    names = [name for name in _round_metrics(report) if any(name in point.metrics | point.observed for point in rounds)]
    pictures = [_metric_picture(rounds, name) for name in names]
    pictures.append(
        _rounds_picture(
            "update-norm",
            "Size of the update",
            "Length of the change",
            rounds=rounds,
            draw=lambda axes: _plot_rounds(axes, rounds, [point.update_norm for point in rounds]),
            caption="How far the shared model moved in each round. "
            + ("The noise of privacy keeps it moving." if report.privacy.private else "It should settle."),
        )
    )
    if any(point.epsilon_spent for point in rounds):
        pictures.append(_epsilon_picture(report))
    return tuple(pictures)


def _round_metrics(report: StudyReport) -> tuple[str, ...]:
    second = {"regression": "mae", "count": "rmse", "quantile": "coverage_error"}.get(report.task, "log_loss")
    return tuple(dict.fromkeys((report.primary_metric, second)))


def _metric_picture(rounds: Sequence[RoundPoint], name: str) -> Picture:
    metric = metric_of(name)
    label = f"{metric.title} (scaled outcome)" if metric.in_outcome_unit else metric.title

    released = [(point.round_number, point.metrics[name]) for point in rounds if name in point.metrics]
    seen = [(point.round_number, point.observed[name]) for point in rounds if name in point.observed]

    def draw(axes: Axes) -> None:
        sites = dict.fromkeys(site for point in rounds for site in point.site_metrics)
        for place, site in enumerate(sites):
            points = [
                (point.round_number, point.site_metrics[site][name])
                for point in rounds
                if name in point.site_metrics.get(site, {})
            ]
            if points:
                label = "single sites" if place == 0 else None
                axes.plot(*zip(*points, strict=True), color=QUIET, linewidth=0.8, alpha=0.8, label=label)
        if seen:
            axes.plot(*zip(*seen, strict=True), color=PALETTE[1], linewidth=2, marker=_marker(len(seen)), label=_SEEN)
        if released:
            marker, label = ("o", "all sites, released") if seen else (_marker(len(released)), "all sites")
            axes.plot(*zip(*released, strict=True), color=PALETTE[0], linewidth=2, marker=marker, label=label)
        legend_below(axes)

    last = (seen or released)[-1][1]
    return _rounds_picture(
        f"rounds-{name.replace('_', '-')}",
        f"{metric.title} after each round",
        label,
        rounds=rounds,
        draw=draw,
        caption=f"On the test patients. {metric.explanation}"
        + (f" The curve is {_SEEN}: nobody could look like this in reality." if seen else ""),
        ending=f" It ends at {last:.3g}.",
    )


def _epsilon_picture(report: StudyReport) -> Picture:
    rounds = report.convergence
    promised = report.privacy.epsilon

    def draw(axes: Axes) -> None:
        spent = [max(point.epsilon_spent.values(), default=0.0) for point in rounds]
        _plot_rounds(axes, rounds, spent, label="spent (largest of the sites)")
        if promised is not None:
            axes.axhline(promised, color=QUIET, linestyle="--", linewidth=1.2, label="promised")
        axes.set_ylim(bottom=0)
        legend_below(axes)

    return _rounds_picture(
        "epsilon",
        "Privacy spent",
        "epsilon",
        rounds=rounds,
        draw=draw,
        caption="Epsilon counted over all rounds so far. The noise is set so that the last round stays within the promise.",
    )


def _plot_rounds(axes: Axes, rounds: Sequence[RoundPoint], values: Sequence[float], label: str | None = None) -> None:
    numbers = [point.round_number for point in rounds]
    axes.plot(numbers, values, color=PALETTE[0], linewidth=2, marker=_marker(len(numbers)), label=label)


def _marker(count: int) -> str | None:
    return "o" if count <= 3 else None  # noqa: PLR2004 - a line of so few points is easily missed


def _rounds_picture(
    name: str,
    title: str,
    label: str,
    *,
    rounds: Sequence[RoundPoint],
    draw: Callable[[Axes], None],
    caption: str,
    ending: str = "",
) -> Picture:
    def draw_all(axes: Axes) -> None:
        draw(axes)
        axes.set_xlabel("Round")
        axes.set_ylabel(label)
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)

    return Picture(
        name=name,
        title=title,
        description=f"{label} by round, rounds {rounds[0].round_number} to {rounds[-1].round_number}.{ending}",
        svg=draw_svg(name, draw_all),
        caption=caption,
    )
