"""``cohortium simulate``, ``studies``, ``sweep`` and ``report``."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from federation.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from aggregator.report.drawing_process import DrawingProcess
    from experiments.phases import PhaseClock
    from experiments.summary import SimulationSummary
    from experiments.sweep_run import SweepPlan

studies_app = typer.Typer(help="The named studies.", no_args_is_help=True, pretty_exceptions_enable=False)
sweep_app = typer.Typer(help="Finished sweeps.", no_args_is_help=True, pretty_exceptions_enable=False)

_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]
_Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[GROUP=OPTION] [KEY=VALUE]", help="What differs from the study's own settings."),
]


def simulate(
    overrides: _Overrides = None,
    *,
    multirun: Annotated[bool, typer.Option("--multirun", "-m", help="Sweep over every combination of values.")] = False,
    resume: Annotated[Path | None, typer.Option("--resume", help="Continue the run or sweep in this folder.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder. Otherwise outputs/STUDY/DATE-TIME.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", envvar="COHORTIUM_DATA", help="Folder of downloaded hospital records.")
    ] = None,
    as_json: _Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    cfg: Annotated[bool, typer.Option("--cfg", help="Print the composed settings and stop.")] = False,
) -> None:
    """Simulate a federation of hospitals: train, compare, track and report.

    Choose options of groups and set single values:

    cohortium simulate study=heart_disease privacy=patient_level privacy.epsilon=2 algorithm=fedprox

    With -m, several values each: privacy.epsilon=1,2,4,8. See what there is with --cfg; a wrong word is answered with
    the nearest right one.
    """
    chosen = overrides or []
    progress = None if quiet else Console(stderr=True, highlight=False)
    if resume is not None:
        _check_alone(chosen, {"-m": multirun, "--output": output is not None, "--cfg": cfg})
        _resume(resume, data=data, progress=progress, as_json=as_json)
        return
    phases = _phases()
    with phases.importing():
        from conf.loading import load_unless_sweep
        from experiments.settings import SimulationSettings

    with contextlib.ExitStack() as beside:
        drawing = beside.enter_context(_drawing(wanted=not (multirun or cfg)))
        with phases.phase("settings"):
            settings = None if multirun else load_unless_sweep(SimulationSettings, chosen)
        if settings is None:
            beside.close()
            _sweep(chosen, output=output, data=data, progress=progress, as_json=as_json, cfg=cfg)
            return
        if cfg:
            typer.echo(_as_text(settings.as_data(), as_json=as_json))
            return
        folder = output or (Path(settings.output) if settings.output else _new_folder("outputs", settings.study.name))
        with _stdout_kept_for_json(as_json=as_json):
            with phases.importing():
                from experiments.simulate import simulate as run_simulation

            summary = run_simulation(
                settings,
                output=folder,
                data=data,
                progress=progress,
                command=shlex.join(["cohortium", "simulate", *chosen]),
                phases=phases,
                drawing=drawing,
            )
    _show_summary(summary, phases, as_json=as_json)


def _phases() -> PhaseClock:
    """Measures from the start of this process, if it did nothing else before."""
    from experiments.phases import PhaseClock, seconds_since_start

    is_command = Path(sys.argv[0]).stem == "cohortium"
    return PhaseClock(before=seconds_since_start() if is_command else 0.0)


def _drawing(*, wanted: bool = True) -> contextlib.AbstractContextManager[DrawingProcess | None]:
    """What draws the report's figures beside this process, if there is a processor for it."""
    from conf.processes.copied_process import pays_to_copy

    if not wanted or not pays_to_copy():
        return contextlib.nullcontext()
    from aggregator.report.drawing_process import DrawingProcess

    return DrawingProcess()


def _resume(folder: Path, *, data: Path | None, progress: Console | None, as_json: bool) -> None:
    phases = _phases()
    with phases.importing():
        from experiments.simulate import resume
        from experiments.sweep_run import SWEEP_FILE, resume_sweep

    if (folder / SWEEP_FILE).is_file():
        with _stdout_kept_for_json(as_json=as_json):
            resume_sweep(folder, data=data, progress=progress)
        _show_sweep(folder, as_json=as_json)
        return
    with _stdout_kept_for_json(as_json=as_json), _drawing() as drawing:
        summary = resume(folder, data=data, progress=progress, phases=phases, drawing=drawing)
    _show_summary(summary, phases, as_json=as_json)


def _sweep(
    overrides: list[str],
    *,
    output: Path | None,
    data: Path | None,
    progress: Console | None,
    as_json: bool,
    cfg: bool,
) -> None:
    from experiments.sweep_run import plan_sweep, run_planned

    plan = plan_sweep(overrides)
    if cfg:
        jobs = [{"job": job.label, "settings": job.settings.as_data()} for job in plan.jobs]
        typer.echo(_as_text(jobs, as_json=as_json))
        return
    folder = output or _new_folder("multirun", _study_of(plan))
    with _stdout_kept_for_json(as_json=as_json):
        run_planned(plan, folder=folder, data=data, progress=progress)
    _show_sweep(folder, as_json=as_json)


@studies_app.command("list")
def list_studies(*, as_json: _Json = False) -> None:
    """List the named studies."""
    from conf.groups import option_names, option_summary

    found = {name: option_summary("study", name) for name in option_names("study")}
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    table = Table("study", "what it is")
    for name, summary in found.items():
        table.add_row(name, summary)
    Console(highlight=False).print(table)


@studies_app.command("show")
def show_study(name: Annotated[str, typer.Argument(metavar="STUDY", help="As in `cohortium studies list`.")]) -> None:
    """Show a study's question, cohort, licence and expected result, and its settings."""
    from importlib.resources import files

    from rich.markdown import Markdown

    from conf.groups import option_names
    from conf.mistakes import wrong_choice

    mistake = wrong_choice("study", name)
    if mistake is not None or name not in option_names("study"):
        raise ConfigurationError(mistake or f"unknown study {name!r}")
    console = Console(highlight=False)
    page = files("experiments") / "studies" / name / "README.md"
    console.print(Markdown(page.read_text(encoding="utf-8")))
    settings = (files("conf") / "study" / f"{name}.yaml").read_text(encoding="utf-8")
    console.print("\nsettings:", style="bold")
    console.print(settings.replace("# @package _global_\n", ""), markup=False)


@sweep_app.command("table")
def sweep_table(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The sweep's folder.")], *, as_json: _Json = False
) -> None:
    """Show the table of a sweep again, and draw its plot again."""
    _show_sweep(folder, as_json=as_json)


def report(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A finished simulation's folder.")]) -> None:
    """Write a finished simulation's HTML report again from its report.json."""
    from aggregator.report.content import StudyReport
    from aggregator.report.html import render_html
    from experiments.simulate import REPORT_FILE
    from federation.durable_files import write_durably

    stored = folder / "report.json"
    if not stored.is_file():
        raise CheckpointError(
            f"expected a finished simulation's folder with report.json, got {folder}",
            remedy="give the folder that `cohortium simulate` printed; finish an interrupted one with --resume",
        )
    content = StudyReport.from_json(stored.read_bytes(), error=CheckpointError)
    write_durably(folder / REPORT_FILE, render_html(content).encode())
    typer.echo(str(folder / REPORT_FILE))


def _show_summary(summary: SimulationSummary, phases: PhaseClock, *, as_json: bool) -> None:
    from experiments.result_tables import show_summary

    if as_json:
        typer.echo(summary.model_dump_json(indent=1))
        return
    console = Console(highlight=False)
    show_summary(console, summary)
    console.print(f"time     {phases.times().in_words()}", markup=False, soft_wrap=True)


def _show_sweep(folder: Path, *, as_json: bool) -> None:
    """The table and plot of what is finished, a line for what failed; ends with the exit code of the first failure."""
    from experiments.sweep_run import failures
    from experiments.sweeps import summarise_sweep

    failed = failures(folder)
    try:
        sweep = summarise_sweep(folder)
    except CheckpointError:
        if not failed:
            raise
        sweep = None
    if as_json:
        data = sweep.as_data() if sweep else None
        typer.echo(json.dumps({"sweep": data, "failed": failed}, indent=1, ensure_ascii=False))
    else:
        console = Console(highlight=False)
        if sweep:
            console.print(sweep.table())
            console.print(f"plot     {sweep.plot}", markup=False, soft_wrap=True)
        console.print(f"folder   {folder}", markup=False, soft_wrap=True)
        for label, error in failed.items():
            console.print(f"failed   {label}: {error['message']}", markup=False, soft_wrap=True)
    codes = [code for error in failed.values() if isinstance(code := error["exit_code"], int)]
    if codes:
        raise typer.Exit(codes[0])


def _check_alone(overrides: list[str], options: Mapping[str, bool]) -> None:
    also = [*overrides, *(name for name, given in options.items() if given)]
    if also:
        raise ConfigurationError(
            f"--resume continues with the settings the run began with; leave out {', '.join(also)}"
        )


def _study_of(plan: SweepPlan) -> str:
    names = {job.settings.study.name for job in plan.jobs}
    return names.pop() if len(names) == 1 else "several"


def _new_folder(kind: str, study: str) -> Path:
    """A folder that no other run has: made here, so that two runs of one second do not share it."""
    moment = dt.datetime.now(dt.UTC).astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 100):
        folder = Path(kind) / study / (moment if attempt == 1 else f"{moment}_{attempt}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise ConfigurationError(f"expected a new folder below {Path(kind) / study}", remedy="name one with --output")


def _as_text(data: object, *, as_json: bool) -> str:
    import yaml

    text = json.dumps(data, indent=1) if as_json else yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return text.rstrip()


def _stdout_kept_for_json(*, as_json: bool) -> contextlib.AbstractContextManager[object]:
    """Libraries print as they please; what was promised to be machine-readable stays so."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
