"""``cohortium operations``: reports for whoever runs a hospital, from a finished study."""

from __future__ import annotations

import contextlib
import datetime as dt
import shlex
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments.operations.asking import Terms
    from experiments.operations.finished_run import FinishedRun, SitePatients
    from experiments.operations.settings import ReportSettings
    from federation.statistics.result import AnalysisResult

app = typer.Typer(
    help="Reports for whoever runs a hospital: mortality, stays, beds, follow-up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

RESULT_FILE: Final = "result.json"
COMMAND_FILE: Final = "command.txt"

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished `cohortium simulate`.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]", help="What differs from the report's defaults.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The report's folder. Otherwise RUN/operations/NAME.")
]
Data = Annotated[
    Path | None, typer.Option("--data", envvar="COHORTIUM_DATA", help="Folder of downloaded hospital records.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


@app.command("calibration")
def calibration(
    run: Run, overrides: Overrides = None, *, output: Output = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Predicted and observed risk by site, beside other predictions of the same patients.

    cohortium operations calibration outputs/eicu_mortality/DATE-TIME by=site

    Settings: by, aggregation, threshold, records.
    """
    from aggregator.report.operations_figures import calibration_figures
    from experiments.operations.risks import calibration as judge
    from experiments.operations.settings import CalibrationSettings, read_settings

    settings = read_settings(CalibrationSettings, overrides or [])
    with _opened(run, settings, data=data, as_json=as_json) as on:
        result = judge(on.run, on.patients, terms=on.terms)
    figures = calibration_figures(result, outcome=on.run.manifest.contract.outcome.name)
    _finish(result, figures, folder=output or run / "operations" / "calibration", as_json=as_json)


@app.command("follow-up")
def follow_up(
    run: Run, overrides: Overrides = None, *, output: Output = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Risk groups, and what following up the patients of the highest risk would reach.

    cohortium operations follow-up outputs/readmission/DATE-TIME capacity=0.1

    Settings: capacity, by, aggregation, threshold, records.
    """
    from aggregator.report.follow_up_figures import follow_up_figures
    from experiments.operations.risks import following_up
    from experiments.operations.settings import FollowUpSettings, read_settings

    settings = read_settings(FollowUpSettings, overrides or [])
    with _opened(run, settings, data=data, as_json=as_json) as on:
        result = following_up(on.run, on.patients, capacity=settings.capacity, terms=on.terms)
    figures = follow_up_figures(result, outcome=on.run.manifest.contract.outcome.name)
    _finish(result, figures, folder=output or run / "operations" / "follow-up", as_json=as_json)


@app.command("stays")
def stays(
    run: Run, overrides: Overrides = None, *, output: Output = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Predicted and observed length of stay by site, beside other predictions of the same patients.

    cohortium operations stays outputs/eicu_stay/DATE-TIME by=site

    Settings: level, by, aggregation, threshold, records.
    """
    from aggregator.report.operations_figures import stay_figures
    from experiments.operations.settings import StaySettings, read_settings
    from experiments.operations.stays import stays as judge

    settings = read_settings(StaySettings, overrides or [])
    with _opened(run, settings, data=data, as_json=as_json) as on:
        result = judge(on.run, on.patients, level=settings.level, terms=on.terms)
    _finish(result, stay_figures(result), folder=output or run / "operations" / "stays", as_json=as_json)


@app.command("beds")
def beds(
    run: Run, overrides: Overrides = None, *, output: Output = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Occupied beds, forecast from predicted stays, against what was observed and against simpler forecasts.

    cohortium operations beds outputs/eicu_stay/DATE-TIME arrivals=expected

    Settings: days, first, horizon, arrivals, level, seed, repeats, by, aggregation, threshold.
    """
    from aggregator.report.operations_figures import beds_figures
    from experiments.operations.beds import beds as forecast
    from experiments.operations.settings import BedSettings, read_settings

    settings = read_settings(BedSettings, overrides or [])
    with _opened(run, settings, data=data, as_json=as_json) as on:
        result = forecast(on.run, on.patients, plan=settings, terms=on.terms)
    _finish(result, beds_figures(result), folder=output or run / "operations" / "beds", as_json=as_json)


@dataclass(frozen=True)
class _Opened:
    """What a report works on."""

    run: FinishedRun
    patients: Sequence[SitePatients] = field(repr=False)
    terms: Terms


@contextlib.contextmanager
def _opened(folder: Path, settings: ReportSettings, *, data: Path | None, as_json: bool) -> Generator[_Opened]:
    """A finished run and its test patients, for as long as a report is made."""
    from experiments.operations.asking import Terms
    from experiments.operations.finished_run import open_run, site_patients
    from experiments.simulate import default_data

    with _stdout_kept_for_json(as_json=as_json), tempfile.TemporaryDirectory(prefix="cohortium-") as scratch:
        run = open_run(folder, data=data or default_data(), work=Path(scratch) / "hospitals")
        terms = Terms(
            by=settings.by,
            is_masked=run.is_masked if settings.aggregation == "as_study" else settings.aggregation == "masked",
            threshold=settings.threshold,
            records=settings.records,
            memory=folder / "operations" / "answers",
            work=Path(scratch) / "secure",
        )
        yield _Opened(run=run, patients=site_patients(run, today=dt.datetime.now(dt.UTC).date()), terms=terms)


def _finish(result: AnalysisResult, figures: Mapping[str, bytes], *, folder: Path, as_json: bool) -> None:
    """Write the result and its figures, and show it."""
    from experiments.analyse_tables import show
    from federation.durable_files import write_durably

    write_durably(folder / COMMAND_FILE, shlex.join(["cohortium", *sys.argv[1:]]).encode())
    files = {RESULT_FILE: result.model_dump_json(indent=1).encode(), **figures}
    for name, content in files.items():
        write_durably(folder / name, content)
    if as_json:
        typer.echo(result.model_dump_json(indent=1))
    else:
        show(Console(highlight=False), result, files=[folder / name for name in files])


def _stdout_kept_for_json(*, as_json: bool) -> contextlib.AbstractContextManager[object]:
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
