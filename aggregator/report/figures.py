"""The figures of a report that every task has: convergence, privacy spent and the comparison of sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from aggregator.report.canvas import PALETTE, QUIET, Picture, draw_svg, legend_below, style_of
from aggregator.report.content import RoundPoint, SettingPerformance, StudyReport
from aggregator.report.curve_figures import curve_figures
from aggregator.report.vocabulary import metric_of, setting_of

_MOST_SITES: Final = 25
"""Sites in the comparison: more do not fit a screen; the table has them all."""
_ROW: Final = 15.0


def figures(report: StudyReport) -> dict[str, tuple[Picture, ...]]:
    """All figures of a report, by section: ``convergence``, ``performance``, ``sites``."""
    return {
        "convergence": convergence_figures(report),
        "performance": curve_figures(report),
        "sites": site_figures(report),
    }


def convergence_figures(report: StudyReport) -> tuple[Picture, ...]:
    """The global model after each round, the size of its change, and the privacy spent."""
    rounds = report.convergence
    if not rounds:
        return ()
    names = [name for name in _convergence_metrics(report) if any(name in point.metrics for point in rounds)]
    pictures = [_metric_picture(rounds, name) for name in names]
    pictures.append(
        _rounds_picture(
            "update-norm",
            "Size of the update",
            "Length of the change",
            rounds,
            lambda axes: _plot_rounds(axes, rounds, [point.update_norm for point in rounds]),
            caption="How far the shared model moved in each round. It should settle.",
        )
    )
    if any(point.epsilon_spent for point in rounds):
        pictures.append(_epsilon_picture(report))
    return tuple(pictures)


def _convergence_metrics(report: StudyReport) -> tuple[str, ...]:
    return tuple(dict.fromkeys((report.primary_metric, "log_loss" if report.task != "regression" else "mae")))


def _metric_picture(rounds: Sequence[RoundPoint], name: str) -> Picture:
    title = metric_of(name).title

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
        points = [(point.round_number, point.metrics[name]) for point in rounds if name in point.metrics]
        axes.plot(
            *zip(*points, strict=True), color=PALETTE[0], linewidth=2, marker=_marker(len(points)), label="all sites"
        )
        legend_below(axes)

    last = next(point.metrics[name] for point in reversed(rounds) if name in point.metrics)
    return _rounds_picture(
        f"rounds-{name.replace('_', '-')}",
        f"{title} after each round",
        title,
        rounds,
        draw,
        caption=f"On the test patients. {metric_of(name).explanation}",
        ending=f" It ends at {last:.3g}.",
    )


def _epsilon_picture(report: StudyReport) -> Picture:
    rounds = report.convergence
    promised = next((fact.value.split(",")[0] for fact in report.privacy.parameters if "epsilon" in fact.label), "")

    def draw(axes: Axes) -> None:
        spent = [max(point.epsilon_spent.values(), default=0.0) for point in rounds]
        _plot_rounds(axes, rounds, spent, label="spent (largest of the sites)")
        if promised:
            axes.axhline(float(promised), color=QUIET, linestyle="--", linewidth=1.2, label="promised")
        axes.set_ylim(bottom=0)
        legend_below(axes)

    return _rounds_picture(
        "epsilon",
        "Privacy spent",
        "epsilon",
        rounds,
        draw,
        caption="Epsilon counted over all rounds so far. Training stops before it passes what was promised.",
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
    rounds: Sequence[RoundPoint],
    draw: Callable[[Axes], None],
    *,
    caption: str,
    ending: str = "",
) -> Picture:
    def draw_all(axes: Axes) -> None:
        draw(axes)
        axes.set_xlabel("Round")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))

    return Picture(
        name=name,
        title=title,
        description=f"{label} by round, rounds {rounds[0].round_number} to {rounds[-1].round_number}.{ending}",
        svg=draw_svg(name, draw_all),
        caption=caption,
    )


def site_figures(report: StudyReport) -> tuple[Picture, ...]:
    """Every site's performance under every setting, with intervals."""
    if not report.performance:
        return ()
    metric = metric_of(report.primary_metric)
    sites = _sites_to_show(report)
    if not sites:
        return ()
    height = 90 + (len(report.performance) + 1) // 2 * 16 + len(sites) * (_ROW * len(report.performance) * 0.62 + 8)
    dropped = len(report.participants) - len(sites)
    return (
        Picture(
            name="sites",
            title=f"{metric.title} at each site",
            description=f"{metric.title} with {report.confidence_level:.0%} intervals, by site and training setting. "
            "The figures are in the table that follows.",
            svg=draw_svg("sites", lambda axes: _forest(axes, report, sites), height=height),
            caption=f"Dots: {metric.title} on the site's own test patients; bars: {report.confidence_level:.0%} intervals."
            + (f" The {len(sites)} worst-served sites are shown; the table has all." if dropped > 0 else ""),
        ),
    )


def _sites_to_show(report: StudyReport) -> list[str]:
    shown = report.setting("federated") or report.performance[0]
    names = [entry.site for entry in shown.sites]
    if len(names) <= _MOST_SITES:
        return names
    sign = -1 if metric_of(report.primary_metric).higher_is_better is False else 1
    values = {entry.site: entry.metrics[report.primary_metric].value for entry in shown.sites}
    worst = sorted(names, key=lambda site: sign * value if (value := values[site]) is not None else float("inf"))
    return [site for site in names if site in worst[:_MOST_SITES]]


def _forest(axes: Axes, report: StudyReport, sites: Sequence[str]) -> None:
    count = len(report.performance)
    for place, setting in enumerate(report.performance):
        offset = ((count - 1) / 2 - place) * 0.7 / max(count, 1)
        _forest_row(axes, report, setting, [(site, len(sites) - 1 - row + offset) for row, site in enumerate(sites)])
    axes.set_yticks(range(len(sites)), list(reversed(sites)))
    axes.set_ylim(-0.6, len(sites) - 0.4)
    axes.tick_params(axis="y", length=0)
    for row in range(len(sites) - 1):
        axes.axhline(row + 0.5, color=QUIET, linewidth=0.4, alpha=0.6)
    metric = metric_of(report.primary_metric)
    axes.set_xlabel(f"{metric.title} ({report.outcome_unit})" if metric.in_outcome_unit else metric.title)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure()
    if handles and figure is not None:
        figure.legend(handles, labels, loc="outside lower center", ncol=2, handlelength=1.6, columnspacing=1.2)


def _forest_row(
    axes: Axes, report: StudyReport, setting: SettingPerformance, rows: Sequence[tuple[str, float]]
) -> None:
    color, marker, _ = style_of(setting.setting)
    label: str | None = setting_of(setting.setting, private=report.privacy.private).short
    by_site = {entry.site: entry.metrics[report.primary_metric] for entry in setting.sites}
    for site, height in rows:
        estimate = by_site.get(site)
        if estimate is None or estimate.value is None:
            continue
        if estimate.lower is not None and estimate.upper is not None:
            axes.plot(
                [estimate.lower, estimate.upper], [height, height], color=color, linewidth=1.4, solid_capstyle="butt"
            )
        axes.plot([estimate.value], [height], color=color, marker=marker, markersize=4.5, linestyle="none", label=label)
        label = None
