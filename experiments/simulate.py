"""A whole simulated study: hospitals prepared, trained, compared, tracked and reported.

Everything a run needs to continue is in its output folder; :func:`resume` reads the settings from there and goes on.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.phases import PHASES_FILE, PhaseClock
from experiments.settings import SimulationSettings
from experiments.workspace import (
    AUDIT_FILE,
    COMMAND_FILE,
    REPORT_FILE,
    SETTINGS_FILE,
    SUMMARY_FILE,
    Workspace,
    tracking_target,
)
from federation.durable_files import write_durably
from federation.errors import CheckpointError, CohortiumError, ConfigurationError, StudyInterruptedError

if TYPE_CHECKING:
    from rich.console import Console

    from aggregator.report.drawing_process import DrawingProcess
    from experiments.preparation import PreparedSites
    from experiments.progress import ProgressBoard
    from experiments.studies.catalogue import PreparedStudy
    from experiments.study_run import RunOutcome, SeedRun
    from experiments.summary import SimulationSummary
    from federation.privacy.audit_result import AuditResult
    from federation.privacy.randomness import RandomStreams

__all__ = ["REPORT_FILE", "SUMMARY_FILE", "default_data", "resume", "simulate"]


def simulate(
    settings: SimulationSettings,
    *,
    output: Path,
    data: Path | None,
    progress: Console | None,
    command: str = "",
    phases: PhaseClock | None = None,
    drawing: DrawingProcess | None = None,
) -> SimulationSummary:
    """Run a simulation in a new folder.

    Args:
        settings: What to simulate.
        output: The simulation's own folder; made if absent.
        data: Folder of downloaded records (``COHORTIUM_DATA``).
        progress: Where progress is shown; ``None``: nowhere.
        command: Command line that gives the same figures again; kept for a resumed run.
        phases: Goes on measuring; ``None``: measures from here.
        drawing: Draws the report's figures; ``None``: they are drawn here.

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
    workspace = Workspace(
        output=output.resolve(),
        data=data or default_data(),
        console=progress,
        today=today,
        phases=phases or PhaseClock(),
        drawing=drawing,
    )
    try:
        from experiments.opening import open_simulation

        study, sites = open_simulation(settings, workspace)
        summary = _run(settings, workspace, study, sites)
    except KeyboardInterrupt as interrupt:
        raise StudyInterruptedError(
            "stopped by the operator; every finished round is kept",
            remedy=f"continue with: cohortium simulate --resume {output}",
        ) from interrupt
    write_durably(output / PHASES_FILE, workspace.phases.times().model_dump_json(indent=1).encode())
    return summary


def default_data() -> Path | None:
    """``../shared/data`` if it is there: where a developer's checkout has its hospital files."""
    folder = Path("../shared/data")
    return folder.resolve() if folder.is_dir() else None


def resume(
    output: Path,
    *,
    data: Path | None,
    progress: Console | None,
    phases: PhaseClock | None = None,
    drawing: DrawingProcess | None = None,
) -> SimulationSummary:
    """Continue an interrupted simulation from its folder. Arguments as of :func:`simulate`.

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
    return simulate(settings, output=output, data=data, progress=progress, phases=phases, drawing=drawing)


def _run(
    settings: SimulationSettings, workspace: Workspace, study: PreparedStudy, sites: PreparedSites
) -> SimulationSummary:
    """Everything after the first seed's hospitals are prepared."""
    from experiments.conclusion import conclude
    from experiments.preparation import prepare_sites
    from experiments.progress import ProgressBoard

    phases = workspace.phases
    runs: list[SeedRun] = []
    with ProgressBoard(workspace.console, settings) as board:
        for seed in settings.seeds:
            board.seed(seed)
            if runs:
                with phases.phase("preparation"):
                    folder = workspace.patients(seed)
                    sites = prepare_sites(settings, study, seed=seed, folder=folder, today=workspace.today)
            runs.append(_one_seed(settings, workspace, sites, seed=seed, board=board))
        board.stage("report")
        with phases.phase("report"):
            summary = conclude(settings, workspace, study=study, runs=runs)
        board.stage("tracking")
        with phases.phase("tracking"):
            for run in runs:
                run.tracker.finish("finished")
    return summary


def _one_seed(
    settings: SimulationSettings,
    workspace: Workspace,
    prepared: PreparedSites,
    *,
    seed: int,
    board: ProgressBoard,
) -> SeedRun:
    from aggregator.outbox_tracker import open_tracker
    from experiments.study_run import SeedRun, run_seed
    from federation.privacy.randomness import fresh_streams, seeded_streams

    phases, folder = workspace.phases, workspace.output / f"seed-{seed}"
    provenance = prepared.manifest.cohort.provenance
    streams = seeded_streams(seed, provenance=provenance) if settings.seeded else fresh_streams()
    write_durably(folder / "manifest.json", prepared.manifest.sealed().encode())
    with phases.phase("tracking"):
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
            phases=phases,
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
