"""The report's page: one self-contained file that asks nothing of the network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Final

import jinja2
import numpy as np
from markupsafe import Markup

from aggregator.report.content import BinaryCurves, FlowStep, Participant, RoundPoint, StudyReport
from aggregator.report.numbers import Numbers
from aggregator.report.page import Page
from aggregator.report.picture import Picture
from aggregator.report.robustness import exclusions, rolled_back, unopened
from aggregator.report.vocabulary import METRICS, audit_size, audit_title, metric_of, setting_of
from aggregator.report.wire import size_of

_FALSE_ALARMS: Final = (0.05, 0.1, 0.2, 0.3, 0.5)
_THRESHOLDS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_MOST_ROUNDS: Final = 60
"""Rows of the table of rounds; with more rounds it shows every so many."""
_PROVENANCE: Final = {
    "synthetic": "synthetic patients",
    "public": "public research records",
    "patients": "real patients",
}


def render_html(report: StudyReport) -> str:
    """The page of a report.

    Args:
        report: What to show. The same content gives the same page.

    Returns:
        A whole HTML document, UTF-8, self-contained.
    """
    return make_page(report).html


def make_page(
    report: StudyReport,
    *,
    figures: Mapping[str, tuple[Picture, ...]] | None = None,
    statistics: tuple[Picture, ...] = (),
) -> Page:
    """The page of a report with its figures.

    Args:
        report: What to show.
        figures: By section, if they are drawn already.
        statistics: Figures of the study's exact statistics, which are files of their own already.
    """
    if figures is None:
        from aggregator.report.drawing import (
            pictures,  # and with it matplotlib, which no page needs whose figures are there
        )

        figures = pictures(report)
    return Page(_render(report, {**figures, "statistics": statistics}), figures)


@cache
def page_template() -> jinja2.Template:
    """Compiled; that takes longer than filling it in."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("template.html"))


def _render(report: StudyReport, drawn: Mapping[str, Sequence[Picture]]) -> str:
    numbers = Numbers(report)
    return page_template().render(
        report=report,
        pictures=drawn,
        numbers=numbers,
        css=Markup(_resource("report.css")),  # noqa: S704 - our own file, not a value from outside
        primary=metric_of(report.primary_metric),
        metrics=_metrics(report),
        metric_of=metric_of,
        audit_title=audit_title,
        audit_size=audit_size,
        setting_of=setting_of,
        provenance=_PROVENANCE[report.provenance],
        steps=_steps(report),
        step_of=_step_of,
        rounds=_rounds(report),
        exclusions=exclusions(report.convergence),
        has_traffic=any(point.bytes_sent for point in report.convergence),
        size_of=size_of,
        round_metrics=_round_metrics(report),
        warnings=_warnings(report),
        headline=_headline(report, numbers),
        num_seeds=max(
            (len(spread.values) for entry in report.performance for spread in entry.over_seeds.values()), default=1
        ),
        sensitivities=_sensitivities(report),
        net_benefits=_net_benefits(report),
        false_alarms=_FALSE_ALARMS,
        thresholds=_THRESHOLDS,
        cell_text=cell_text,
    )


def cell_text(cell: str | float | None) -> str:
    """A cell of a table of statistics; a dot where nothing is shown."""
    if cell is None:
        return "·"
    if isinstance(cell, str):
        return cell
    text = f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"
    return text.replace("-", "−")


def _resource(name: str) -> str:
    return (files("aggregator.report") / name).read_text(encoding="utf-8")


def _metrics(report: StudyReport) -> list[str]:
    """Metrics that the report has, the primary one first."""
    if not report.performance:
        return []
    found = report.performance[0].overall
    return [report.primary_metric, *(name for name in METRICS if name in found and name != report.primary_metric)]


def _steps(report: StudyReport) -> list[str]:
    """Steps of the cohort definition over all sites: the first, and those that left something out."""
    names = list(dict.fromkeys(step.step for site in report.participants for step in site.flow))
    told = {
        after.step
        for site in report.participants
        for before, after in pairwise(site.flow)
        if (before.records, before.patients) != (after.records, after.patients)
    }
    return [name for name in names if name in told or name == names[0]]


def _step_of(participant: Participant, name: str) -> FlowStep | None:
    return next((step for step in participant.flow if step.step == name), None)


def _rounds(report: StudyReport) -> list[RoundPoint]:
    """Rounds for the table: all, or evenly spread with the last."""
    points = report.convergence
    if len(points) <= _MOST_ROUNDS:
        return list(points)
    chosen = np.unique(np.linspace(0, len(points) - 1, _MOST_ROUNDS).round().astype(int))
    return [points[place] for place in chosen]


def _round_metrics(report: StudyReport) -> list[str]:
    found = {name for point in report.convergence for name in point.metrics | point.observed}
    return [name for name in METRICS if name in found and name != "prevalence"]


def _warnings(report: StudyReport) -> list[str]:
    """What a reader must know before any figure."""
    warnings: list[str] = []
    if report.reproducibility.seeded and report.privacy.private:
        warnings.append(
            "Seeded test mode: the noise of this run is reproducible, so it protects no one. The privacy figures below "
            "say what the same study gives with secret noise."
        )
    refuted = [audit_title(audit).lower() for audit in report.privacy.audits if not audit.passed]
    if refuted:
        warnings.append(
            f"Do not release this model: the audit ({', '.join(refuted)}) measured more leakage than the study promises."
        )
    failed = [entry.site for entry in report.readiness if not entry.passed]
    if failed:
        warnings.append(f"Data readiness failed at {', '.join(failed)}.")
    dropped = sorted({site for point in report.convergence for site in point.dropouts})
    if dropped:
        warnings.append(f"Some rounds were completed without {', '.join(dropped)}.")
    left_out = [entry.site for entry in exclusions(report.convergence)]
    if left_out:
        warnings.append(f"In some rounds the updates of {', '.join(left_out)} were left out (see Convergence).")
    if back := rolled_back(report.convergence):
        warnings.append(back)
    if without := unopened(report.convergence):
        warnings.append(without)
    return warnings


def _headline(report: StudyReport, numbers: Numbers) -> str:
    """The result in two sentences; empty without performance."""
    metric = metric_of(report.primary_metric)
    shown = report.setting("federated")
    found = None if shown is None else shown.overall.get(metric.name)
    if shown is None or found is None or found.value is None:
        return ""
    interval = numbers.interval(found.lower, found.upper, metric.name)
    others = [
        f"{entry.title.lower()} {numbers.number(value, metric.name)}"
        for entry in report.performance
        if entry is not shown and (value := entry.overall[metric.name].value) is not None
    ]
    sentence = f"{shown.title}: {metric.title} {numbers.number(found.value, metric.name)}"
    sentence += f" ({report.confidence_level:.0%} interval {interval})" if interval else ""
    sentence += f", beside {', '.join(others)}." if others else "."
    if shown.worst_site is not None and shown.worst_site.estimate.value is not None:
        worst = numbers.number(shown.worst_site.estimate.value, metric.name)
        sentence += f" It serves {shown.worst_site.site} worst ({worst})."
    return sentence


def _sensitivities(report: StudyReport) -> list[tuple[str, list[float]]]:
    """Sensitivity at some shares of false alarms, by setting."""
    return [
        (entry.setting, [float(np.interp(share, entry.roc.x, entry.roc.y)) for share in _FALSE_ALARMS])
        for entry in report.curves
        if isinstance(entry, BinaryCurves) and entry.roc is not None
    ]


def _net_benefits(report: StudyReport) -> list[tuple[str, list[float]]]:
    """Net benefit at some thresholds, by setting, and of treating all."""
    binary = [entry for entry in report.curves if isinstance(entry, BinaryCurves)]
    rows = [
        (setting_of(entry.setting, private=report.privacy.private).title, entry.net_benefit) for entry in binary
    ] + [("Treat all", entry.net_benefit_treat_all) for entry in binary[:1]]
    return [(name, [float(np.interp(share, line.x, line.y)) for share in _THRESHOLDS]) for name, line in rows]
