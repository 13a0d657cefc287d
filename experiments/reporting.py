"""The report of a finished simulation: assessed, written as JSON and as one HTML page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggregator.report.content import ReportFile, StudyReport
from experiments.assessment import RunFacts, assess
from experiments.predictions import SitePredictions
from experiments.settings import SimulationSettings
from experiments.summary import OTHER_SCALING
from federation.privacy.audit_result import AuditResult
from federation.privacy.randomness import fresh_streams, seeded_streams

if TYPE_CHECKING:
    from aggregator.report.drawing_process import DrawingProcess
    from experiments.study_run import SeedRun

_FILES: Final = (
    ReportFile(name="report.json", description="this report as data"),
    ReportFile(name="summary.json", description="the table of results, with every seed"),
    ReportFile(name="settings.json", description="the settings the run was started with"),
    ReportFile(name="seed-*/manifest.json", description="the sealed study manifest"),
    ReportFile(name="seed-*/model.safetensors", description="the federated model's parameters"),
)
_AUDIT_FILE: Final = ReportFile(name="seed-*/audit.json", description="what the audit measured")


def begin_report(
    settings: SimulationSettings,
    *,
    runs: Sequence[SeedRun],
    today: dt.date,
    command: str,
    audits: Sequence[AuditResult] = (),
    drawing: DrawingProcess | None = None,
) -> StudyReport:
    """The first seed's report, with the spread over all seeds; its page is begun.

    Args:
        settings: The simulation's settings.
        runs: One per seed.
        today: Shown as the report's date.
        command: That gives the same figures again.
        audits: Of the first seed's study; none if it was not audited.
        drawing: Makes the page while this process goes on; ``None``: :func:`finish_report` makes it.
    """
    from aggregator.report.statement import with_audits

    first = runs[0]
    manifest = first.outcome.manifest
    streams = (
        seeded_streams(settings.seeds[0], provenance=manifest.cohort.provenance) if settings.seeded else fresh_streams()
    )
    report = assess(
        manifest,
        result=first.outcome.result,
        predictions=_shown(first),
        repetitions=[_shown(run) for run in runs[1:]],
        attrition=first.prepared.attrition,
        readiness={site: found.verdict().variables for site, found in first.prepared.readiness.items()},
        run=RunFacts(
            created=today.isoformat(),
            command=command,
            seeds=settings.seeds,
            seeded=settings.seeded,
            software=manifest.software,
            files=(*_FILES, _AUDIT_FILE) if audits else _FILES,
            training_patients={data.site: data.training.num_patients for data in first.prepared.data},
            bootstrap_samples=settings.report.bootstrap_samples,
            confidence_level=settings.report.confidence_level,
        ),
        generator=streams.stream("bootstrap"),
    )
    statement = with_audits(report.privacy, audits, manifest_digest=manifest.digest)
    report = report.model_copy(update={"privacy": statement})
    if drawing is not None:
        drawing.begin(report)
    return report


def finish_report(report: StudyReport, output: Path, *, drawing: DrawingProcess | None = None) -> tuple[Path, ...]:
    """Write page, data and figures of a report.

    Args:
        report: Of :func:`begin_report`.
        output: The simulation's folder.
        drawing: The same.

    Returns:
        The files, the HTML page first.
    """
    from aggregator.report.page import write_report

    if drawing is not None:
        return write_report(report, drawing.page(report), output)
    from aggregator.report.html import make_page

    return write_report(report, make_page(report), output)


def _shown(run: SeedRun) -> dict[str, tuple[SitePredictions, ...]]:
    return {name: found for name, found in run.outcome.predictions.items() if name not in OTHER_SCALING}
