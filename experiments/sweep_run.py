"""A sweep: many simulations planned together, run by Hydra's launcher in processes of their own, resumed one by one.

Every job is composed and validated before the first begins. The plan is kept in the sweep's folder, so that a sweep
that was interrupted goes on with the jobs that are not finished; one that failed does not stop the others.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Console

from experiments.settings import SimulationSettings
from federation.documents import Document, Json
from federation.durable_files import write_durably
from federation.errors import (
    CheckpointError,
    CohortiumError,
    ConfigurationError,
    InternalError,
    StudyInterruptedError,
)

Settings = Callable[[], SimulationSettings]

if TYPE_CHECKING:
    from conf.validation import Tree

SWEEP_FILE: Final = "sweep.json"
ERROR_FILE: Final = "error.json"


class PlannedJob(Document):
    """One simulation of a sweep."""

    folder: str
    """Below the sweep's folder: its number."""
    label: str
    """What distinguishes it, such as ``privacy.epsilon=1 algorithm=fedprox``."""
    settings: SimulationSettings


class SweepPlan(Document):
    """All simulations of a sweep."""

    format: Literal["cohortium/sweep/1"] = "cohortium/sweep/1"
    overrides: tuple[str, ...]
    """As typed."""
    jobs: tuple[PlannedJob, ...]


def plan_sweep(overrides: Sequence[str]) -> SweepPlan:
    """Compose and validate every job.

    Raises:
        ConfigurationError: With one line per mistake of the first job that has one.
    """
    from conf.loading import load, sweep_jobs

    for line in overrides:
        if line.startswith(("hydra.sweep.subdir", "output=")):
            raise ConfigurationError(
                f"{line!r}: the jobs of a sweep are numbered below its folder; use --output for that"
            )
    jobs = sweep_jobs(overrides)
    common = set.intersection(*(set(job) for job in jobs))
    return SweepPlan(
        overrides=tuple(overrides),
        jobs=tuple(
            PlannedJob(
                folder=str(number),
                label=" ".join(line for line in job if line not in common) or "the only job",
                settings=load(SimulationSettings, job),
            )
            for number, job in enumerate(jobs)
        ),
    )


def run_planned(plan: SweepPlan, *, folder: Path, data: Path | None, progress: Console | None) -> None:
    """Run a new sweep.

    Args:
        plan: From :func:`plan_sweep`.
        folder: The sweep's own; made if absent.
        data: Folder of downloaded records.
        progress: Where a line per finished job is shown; ``None``: nowhere.

    Raises:
        ConfigurationError: If the folder holds a sweep already.
        StudyInterruptedError: After Ctrl-C; the sweep can be resumed.
    """
    from conf.loading import run_sweep

    if (folder / SWEEP_FILE).exists():
        raise ConfigurationError(
            f"expected {folder} to be new, it holds a sweep",
            remedy=f"choose another --output, or continue that one with `cohortium simulate --resume {folder}`",
        )
    write_durably(folder / SWEEP_FILE, plan.model_dump_json(indent=1).encode())
    if progress is not None:
        progress.print(f"{len(plan.jobs)} simulations → {folder}", markup=False)
    labels = {job.folder: job.label for job in plan.jobs}
    job = functools.partial(run_job, labels=labels, data=data, quiet=progress is None)
    try:
        run_sweep(plan.overrides, folder=folder, job=job)
    except KeyboardInterrupt as interrupt:
        raise _interrupted(folder) from interrupt


def run_job(tree: Tree, folder: Path, *, labels: Mapping[str, str], data: Path | None, quiet: bool) -> None:
    """Run one job, in a worker process. Never raises: a failure is a file in the job's folder.

    Args:
        tree: The job's settings, as Hydra composed them.
        folder: The job's own.
        labels: By the folder's name.
        data: Folder of downloaded records.
        quiet: Say nothing when it is finished.
    """
    from conf.validation import build

    outcome = _attempt(lambda: build(SimulationSettings, tree), folder, data=data, progress=None)
    if not quiet:
        number, label = int(folder.name) + 1, labels.get(folder.name, "")
        Console(stderr=True, highlight=False).print(f"{number}/{len(labels)} {label}: {outcome}", markup=False)


def resume_sweep(folder: Path, *, data: Path | None, progress: Console | None) -> None:
    """Go on with the jobs of an interrupted sweep that are not finished, one after another.

    Raises:
        CheckpointError: If the folder holds no readable plan.
        StudyInterruptedError: After Ctrl-C; the sweep can be resumed again.
    """
    from experiments.simulate import SUMMARY_FILE

    plan = read_plan(folder)
    for job in plan.jobs:
        if (folder / job.folder / SUMMARY_FILE).is_file():
            continue
        if progress is not None:
            progress.print(f"{int(job.folder) + 1}/{len(plan.jobs)} {job.label}", markup=False)
        if _attempt(lambda job=job: job.settings, folder / job.folder, data=data, progress=progress) == "interrupted":
            raise _interrupted(folder)


def read_plan(folder: Path) -> SweepPlan:
    """The plan in a sweep's folder.

    Raises:
        CheckpointError: If it is missing or invalid.
    """
    try:
        text = (folder / SWEEP_FILE).read_bytes()
    except OSError as failure:
        raise CheckpointError(
            f"expected a sweep's folder with {SWEEP_FILE}, got {folder}",
            remedy="give the folder that `cohortium simulate -m` printed",
        ) from failure
    return SweepPlan.from_json(text, error=CheckpointError)


def failures(folder: Path) -> dict[str, dict[str, Json]]:
    """The errors of a sweep's jobs, as data, by the jobs' labels; none for a folder without a plan."""
    found: dict[str, dict[str, Json]] = {}
    if not (folder / SWEEP_FILE).is_file():
        return found
    for job in read_plan(folder).jobs:
        path = folder / job.folder / ERROR_FILE
        if path.is_file():
            found[job.label] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _attempt(settings: Settings, folder: Path, *, data: Path | None, progress: Console | None) -> str:
    """Run one simulation and say in one word how it ended; the error is in the folder."""
    from experiments.simulate import simulate

    try:
        simulate(settings(), output=folder, data=data, progress=progress)
    except (StudyInterruptedError, KeyboardInterrupt):
        return "interrupted"
    except CohortiumError as failure:
        error = failure
    except Exception as failure:  # noqa: BLE001 - one failed job must not hide the others
        error = InternalError(f"a bug of ours: {type(failure).__name__}", remedy="run this job alone with --debug")
    else:
        (folder / ERROR_FILE).unlink(missing_ok=True)
        return "finished"
    write_durably(folder / ERROR_FILE, json.dumps(error.as_dict(), indent=1).encode())
    return f"failed: {error.message.splitlines()[0]}"


def _interrupted(folder: Path) -> StudyInterruptedError:
    return StudyInterruptedError(
        "the sweep was stopped by the operator; every finished job and round is kept",
        remedy=f"continue with: cohortium simulate --resume {folder}",
    )
