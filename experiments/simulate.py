"""A whole simulated study: hospitals prepared, trained, compared, tracked and reported.

Everything a run needs to continue is in its output folder; :func:`resume` reads the settings from there and goes on.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from aggregator.tracking import TrackingTarget, mlflow_ui_command
from experiments.settings import SimulationSettings
from experiments.summary import (
    OTHER_SCALING,
    SimulationSummary,
    compare_with_published,
    privacy_target,
    summary_rows,
)
from federation.durable_files import write_durably
from federation.errors import CheckpointError, CohortiumError, ConfigurationError, StudyInterruptedError
from federation.models.task_terms import Objective

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.preparation import PreparedSites
    from experiments.progress import ProgressBoard
    from experiments.studies.catalogue import PreparedStudy
    from experiments.study_run import RunOutcome, SeedRun
    from federation.privacy.audit_result import AuditResult
    from federation.privacy.randomness import RandomStreams

SWEEP_FILE: Final = "sweep.json"
"""In the folder above, if this simulation is a job of a sweep."""
SETTINGS_FILE: Final = "settings.json"
SUMMARY_FILE: Final = "summary.json"
COMMAND_FILE: Final = "command.txt"
REPORT_FILE: Final = "report.html"
AUDIT_FILE: Final = "audit.json"


@dataclass(frozen=True)
class Workspace:
    """Where a simulation works, and what it was started with.

    Args:
        output: The simulation's own folder.
        data: ``COHORTIUM_DATA``, for studies of downloaded records.
        console: Where progress is shown; ``None``: nowhere.
        today: Records dated later are implausible.
    """

    output: Path
    data: Path | None
    console: Console | None
    today: dt.date


def simulate(
    settings: SimulationSettings, *, output: Path, data: Path | None, progress: Console | None, command: str = ""
) -> SimulationSummary:
    """Run a simulation in a new folder.

    Args:
        settings: What to simulate.
        output: The simulation's own folder; made if absent.
        data: Folder of downloaded records (``COHORTIUM_DATA``).
        progress: Where progress is shown; ``None``: nowhere.
        command: Command line that gives the same figures again; kept for a resumed run.

    Raises:
        ConfigurationError: If the folder already holds another simulation.
        CohortiumError: Whatever is wrong with records, manifest or study.
        StudyInterruptedError: After Ctrl-C; the run can be resumed.
    """
    stored = output / SETTINGS_FILE
    text = settings.model_dump_json(indent=1)
    if stored.is_file() and json.loads(stored.read_text()) != json.loads(text):
        raise ConfigurationError(
            f"expected {output} to be new or of the same settings, it holds another simulation",
            remedy=f"choose another --output, or continue that one with `cohortium simulate --resume {output}`",
        )
    write_durably(stored, text.encode())
    if command:
        write_durably(output / COMMAND_FILE, command.encode())
    today = dt.datetime.now(dt.UTC).date()
    workspace = Workspace(output=output.resolve(), data=data or default_data(), console=progress, today=today)
    try:
        return _simulate(settings, workspace)
    except KeyboardInterrupt as interrupt:
        raise StudyInterruptedError(
            "stopped by the operator; every finished round is kept",
            remedy=f"continue with: cohortium simulate --resume {output}",
        ) from interrupt


def default_data() -> Path | None:
    """``../shared/data`` if it is there: where a developer's checkout has its hospital files."""
    folder = Path("../shared/data")
    return folder.resolve() if folder.is_dir() else None


def resume(output: Path, *, data: Path | None, progress: Console | None) -> SimulationSummary:
    """Continue an interrupted simulation from its folder.

    Raises:
        CheckpointError: If the folder holds no simulation.
    """
    stored = output / SETTINGS_FILE
    if not stored.is_file():
        raise CheckpointError(
            f"expected a simulation's folder with {SETTINGS_FILE}, got {output}",
            remedy="give the folder that `cohortium simulate` printed",
        )
    settings = SimulationSettings.from_json(stored.read_bytes(), error=CheckpointError)
    return simulate(settings, output=output, data=data, progress=progress)


def _simulate(settings: SimulationSettings, workspace: Workspace) -> SimulationSummary:
    import torch

    from experiments.progress import ProgressBoard
    from experiments.studies.catalogue import load_study

    torch.set_num_threads(1)  # sums must not depend on the number of cores
    options = dict(settings.study.options)
    partition_seed = options.pop("partition_seed", 0)
    if not isinstance(partition_seed, int):
        raise ConfigurationError(f"expected study.options.partition_seed to be an integer, got {partition_seed!r}")
    study = load_study(
        settings.study.name,
        options=options,
        seed=partition_seed,
        folder=workspace.output / "hospitals",
        data=workspace.data,
    )
    with ProgressBoard(workspace.console, settings) as board:
        runs = [_one_seed(settings, workspace, study, seed=seed, board=board) for seed in settings.seeds]
        board.stage("report")
        summary = _conclude(settings, workspace, study=study, runs=runs)
        board.stage("tracking")
        for run in runs:
            run.tracker.finish("finished")
    return summary


def _one_seed(
    settings: SimulationSettings,
    workspace: Workspace,
    study: PreparedStudy,
    *,
    seed: int,
    board: ProgressBoard,
) -> SeedRun:
    from aggregator.outbox_tracker import open_tracker
    from experiments.preparation import prepare_sites
    from experiments.study_run import SeedRun, run_seed
    from federation.privacy.randomness import fresh_streams, seeded_streams

    board.seed(seed)
    folder = workspace.output / f"seed-{seed}"
    prepared = prepare_sites(settings, study, seed=seed, folder=folder / "patients", today=workspace.today)
    provenance = prepared.manifest.cohort.provenance
    streams = seeded_streams(seed, provenance=provenance) if settings.seeded else fresh_streams()
    write_durably(folder / "manifest.json", prepared.manifest.sealed().encode())
    tracker = open_tracker(folder / "tracking", tracking_target(settings, workspace.output))
    tracker.start(prepared.manifest, tags={"cohortium.seed": str(seed), "cohortium.name": settings.name})
    try:
        outcome = run_seed(
            settings,
            prepared,
            seed=seed,
            folder=folder,
            tracker=tracker,
            streams=streams.child("references"),
            report=board.stage,
        )
        audits = _audited(settings, prepared, outcome, folder=folder, streams=streams.child("audit"), board=board)
    except KeyboardInterrupt:
        tracker.finish("interrupted")
        raise
    except CohortiumError:
        tracker.finish("failed")
        raise
    return SeedRun(prepared=prepared, outcome=outcome, tracker=tracker, audits=audits)


def _audited(
    settings: SimulationSettings,
    prepared: PreparedSites,
    outcome: RunOutcome,
    *,
    folder: Path,
    streams: RandomStreams,
    board: ProgressBoard,
) -> tuple[AuditResult, ...]:
    """Attack the finished study. A refuted claim ends the run before its model, report or summary is written."""
    if not settings.audit.kinds or settings.privacy.kind == "none":
        return ()
    from aggregator.release_check import release_check
    from experiments.audit.study_audit import audit_study
    from experiments.audit.subject import AuditSubject
    from site_client.paid_preparation import apply_preparation

    mapped = outcome.result.prepared
    subject = AuditSubject(
        manifest=outcome.manifest,
        sites=prepared.data if mapped is None else tuple(apply_preparation(site, mapped) for site in prepared.data),
        streams=streams,
        seeded=settings.seeded,
        confidence=settings.audit.confidence,
        report=board.stage,
    )
    found = audit_study(subject, settings.audit, released=outcome.result.parameters)
    write_durably(folder / AUDIT_FILE, found.model_dump_json(indent=1).encode())
    release_check(found.results, manifest_digest=outcome.manifest.digest)
    return found.results


def tracking_target(settings: SimulationSettings, output: Path) -> TrackingTarget:
    """Where the runs are tracked: beside the run's results, or for all jobs of a sweep together beside the sweep's."""
    choice = settings.tracking
    in_sweep = (output.parent / SWEEP_FILE).is_file()
    return TrackingTarget.choose(
        choice.kind, uri=choice.uri, experiment=choice.experiment, output=output.parent if in_sweep else output
    )


def _conclude(
    settings: SimulationSettings, workspace: Workspace, *, study: PreparedStudy, runs: Sequence[SeedRun]
) -> SimulationSummary:
    """Compare, report and hand everything to the trackers."""
    from aggregator.report.robustness import exclusions
    from aggregator.report.vocabulary import PRIMARY_METRIC
    from experiments.reporting import write_report

    first = runs[0]
    manifest = first.outcome.manifest
    rows = summary_rows(manifest.objective, [run.outcome.predictions for run in runs])
    typed = workspace.output / COMMAND_FILE
    command = typed.read_text() if typed.is_file() else ""
    files = write_report(
        settings, workspace.output, runs=runs, today=workspace.today, command=command, audits=first.audits
    )
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
        report=str(files[0]),
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
    write_durably(workspace.output / SUMMARY_FILE, summary.model_dump_json(indent=1).encode())
    for run in runs:
        _record(run, workspace.output / f"seed-{run.outcome.seed}", manifest.objective)
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
