"""The end of a simulated study: figures compared, the report written, everything handed to the trackers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from aggregator.tracking import mlflow_ui_command
from experiments.settings import SimulationSettings
from experiments.summary import (
    OTHER_SCALING,
    SimulationSummary,
    compare_with_published,
    privacy_target,
    summary_rows,
)
from experiments.workspace import COMMAND_FILE, REPORT_FILE, SUMMARY_FILE, Workspace, tracking_target
from federation.durable_files import write_durably
from federation.models.task_terms import Objective

if TYPE_CHECKING:
    from experiments.studies.catalogue import PreparedStudy
    from experiments.study_run import SeedRun


def conclude(
    settings: SimulationSettings, workspace: Workspace, *, study: PreparedStudy, runs: Sequence[SeedRun]
) -> SimulationSummary:
    """Compare, report and hand everything to the trackers.

    Args:
        settings: The simulation's settings.
        workspace: Where it works.
        study: The named study.
        runs: One per seed.
    """
    with workspace.phases.importing():
        from aggregator.report.robustness import exclusions
        from aggregator.report.vocabulary import PRIMARY_METRIC
        from experiments.reporting import begin_report, finish_report

    first = runs[0]
    manifest = first.outcome.manifest
    typed = workspace.output / COMMAND_FILE
    command = typed.read_text() if typed.is_file() else ""
    report = begin_report(
        settings,
        runs=runs,
        today=workspace.today,
        command=command,
        audits=first.audits,
        drawing=workspace.drawing,
    )
    rows = summary_rows(manifest.objective, [run.outcome.predictions for run in runs])
    epsilon, delta = privacy_target(settings)
    last = first.outcome.result.rounds[-1]
    summary = SimulationSummary(
        study=manifest.study,
        name=settings.name or manifest.study,
        task=manifest.task,
        algorithm=settings.algorithm.kind,
        model=settings.model.kind,
        privacy_kind=settings.privacy.kind,
        epsilon=epsilon,
        delta=delta,
        epsilon_spent=dict(last.epsilon_spent),
        seeds=settings.seeds,
        seeded=settings.seeded,
        output=str(workspace.output),
        report=str(workspace.output / REPORT_FILE),
        mlflow_command=mlflow_ui_command(tracking_target(settings, workspace.output)) or None,
        manifest_digest=manifest.digest,
        model_digest=last.model_digest,
        primary_metric=PRIMARY_METRIC[manifest.task],
        settings_table=tuple(row for row in rows if row.setting not in OTHER_SCALING),
        exclusions=exclusions(first.outcome.result.rounds),
        bytes_sent_per_round=fmean(entry.bytes_sent for entry in first.outcome.result.rounds),
        bytes_received_per_round=fmean(entry.bytes_received for entry in first.outcome.result.rounds),
        comparisons=compare_with_published(study.definition.expected, rows, algorithm=settings.algorithm.kind),
    )
    for run in runs:
        _record(run, workspace.output / f"seed-{run.outcome.seed}", manifest.objective)
    files = finish_report(report, workspace.output, drawing=workspace.drawing)
    write_durably(workspace.output / SUMMARY_FILE, summary.model_dump_json(indent=1).encode())
    for path in (*files, workspace.output / SUMMARY_FILE):
        first.tracker.record_artefact(path, folder="figures" if path.suffix == ".svg" else "")
    return summary


def _record(run: SeedRun, folder: Path, task: Objective) -> None:
    """Model, final figures and references of one seed."""
    from federation.study.model_file import model_bytes

    model, result = folder / "model.safetensors", run.outcome.result
    write_durably(model, model_bytes(run.outcome.manifest.digest, result.parameters, result.prepared))
    run.tracker.record_artefact(model, folder="model")
    run.tracker.record_artefact(folder / "manifest.json")
    for row in summary_rows(task, [run.outcome.predictions]):
        if row.setting == "federated":
            run.tracker.record_metrics({f"final/{name}": value for name, value in row.metrics.items()})
        elif row.setting not in OTHER_SCALING:
            run.tracker.record_baseline(row.setting, row.metrics, parameters={"setting": row.setting})
