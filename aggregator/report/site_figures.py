"""The figure of the sites: who is served well, by which way of training, and how certain that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aggregator.report.content import SettingPerformance, StudyReport
from aggregator.report.figures import QUIET, Axes, Picture, draw_svg, style_of
from aggregator.report.vocabulary import metric_of, setting_of

_MOST_SITES: Final = 25
"""Sites in the comparison: more do not fit a screen; the table has them all."""
_ROW: Final = 15.0


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
            caption=f"Dots: on the site's own test patients; bars: {report.confidence_level:.0%} intervals."
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
    _mark_undefined(axes, report, sites)
    axes.set_yticks(range(len(sites)), list(reversed(sites)))
    axes.set_ylim(-0.6, len(sites) - 0.4)
    axes.tick_params(axis="y", length=0)
    for row in range(len(sites) - 1):
        axes.axhline(row + 0.5, color=QUIET, linewidth=0.4, alpha=0.6)
    metric = metric_of(report.primary_metric)
    axes.set_xlabel(f"{metric.title} ({report.outcome_unit})" if metric.in_outcome_unit else metric.title)
    axes.locator_params(axis="x", nbins=6)
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure()
    if handles and figure is not None:
        figure.legend(handles, labels, loc="outside lower center", ncol=2, handlelength=1.6, columnspacing=1.2)


def _mark_undefined(axes: Axes, report: StudyReport, sites: Sequence[str]) -> None:
    """Say it where a site has no figure under any setting, instead of leaving an empty row."""
    defined = {
        entry.site
        for setting in report.performance
        for entry in setting.sites
        if entry.metrics[report.primary_metric].value is not None
    }
    for row, site in enumerate(sites):
        if site not in defined:
            place = (0.5, len(sites) - 1 - row)
            axes.annotate(
                "not defined",
                place,
                xycoords=axes.get_yaxis_transform(),
                ha="center",
                va="center",
                color=QUIET,
                fontsize=9,
            )


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
