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
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from experiments.operations.asking import Terms
    from experiments.operations.finished_run import FinishedRun, SitePatients
    from federation.statistics.result import AnalysisResult

app = typer.Typer(
    help="Reports for whoever runs a hospital: mortality, stays, beds, follow-up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

RESULT_FILE: Final = "result.json"
COMMAND_FILE: Final = "command.txt"

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished `cohortium simulate`.")]
By = Annotated[
    Literal["site", "group", "none"],
    typer.Option("--by", help="A line for each site, for each group of sites (such as a region), or for everybody."),
]
Aggregation = Annotated[
    Literal["as_study", "open", "masked"], typer.Option("--aggregation", help="Sums in the open, or secure ones.")
]
Threshold = Annotated[int, typer.Option("--threshold", min=1, help="Smallest count of patients that is shown.")]
RecordsOf = Annotated[
    Literal["one", "all"],
    typer.Option("--records", help="Of a patient with several records one counts, or all that the study uses."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The report's folder. Otherwise RUN/operations/NAME.")
]
Data = Annotated[
    Path | None, typer.Option("--data", envvar="COHORTIUM_DATA", help="Folder of downloaded hospital records.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


@dataclass(frozen=True)
class Opened:
    """What a report works on."""

    run: FinishedRun
    patients: Sequence[SitePatients] = field(repr=False)
    terms: Terms


@contextlib.contextmanager
def opened(
    folder: Path,
    *,
    data: Path | None,
    by: Literal["site", "group", "none"],
    aggregation: str,
    threshold: int,
    records: Literal["one", "all"] = "one",
) -> Generator[Opened]:
    """A finished run and its test patients, for as long as a report is made."""
    from experiments.operations.asking import Terms
    from experiments.operations.finished_run import open_run, site_patients
    from experiments.simulate import default_data

    with tempfile.TemporaryDirectory(prefix="cohortium-") as scratch:
        run = open_run(folder, data=data or default_data(), work=Path(scratch) / "hospitals")
        is_masked = run.is_masked if aggregation == "as_study" else aggregation == "masked"
        terms = Terms(
            by=by,
            is_masked=is_masked,
            threshold=threshold,
            records=records,
            memory=folder / "operations" / "answers",
            work=Path(scratch) / "secure",
        )
        patients = site_patients(run, today=dt.datetime.now(dt.UTC).date())
        yield Opened(run=run, patients=patients, terms=terms)


@app.command("calibration")
def calibration(
    run: Run,
    *,
    by: By = "site",
    aggregation: Aggregation = "as_study",
    threshold: Threshold = 5,
    records: RecordsOf = "all",
    output: Output = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Predicted and observed risk by site, beside other predictions of the same patients.

    cohortium operations calibration outputs/eicu_mortality/DATE-TIME
    """
    from aggregator.report.operations_figures import calibration_figures
    from experiments.operations.risks import calibration as judge

    with (
        _quiet(as_json=as_json),
        opened(run, data=data, by=by, aggregation=aggregation, threshold=threshold, records=records) as on,
    ):
        result = judge(on.run, on.patients, terms=on.terms)
    figures = calibration_figures(result, outcome=on.run.manifest.contract.outcome.name)
    finish(result, figures, folder=output or run / "operations" / "calibration", as_json=as_json)


@app.command("follow-up")
def follow_up(
    run: Run,
    *,
    capacity: Annotated[
        float, typer.Option("--capacity", min=0.001, max=1.0, help="Share of the patients who can be followed up.")
    ] = 0.1,
    by: By = "site",
    aggregation: Aggregation = "as_study",
    threshold: Threshold = 5,
    records: RecordsOf = "all",
    output: Output = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Risk groups, and what following up the patients of the highest risk would reach.

    cohortium operations follow-up outputs/readmission/DATE-TIME --capacity 0.1
    """
    from aggregator.report.follow_up_figures import follow_up_figures
    from experiments.operations.risks import following_up

    with (
        _quiet(as_json=as_json),
        opened(run, data=data, by=by, aggregation=aggregation, threshold=threshold, records=records) as on,
    ):
        result = following_up(on.run, on.patients, capacity=capacity, terms=on.terms)
    figures = follow_up_figures(result, outcome=on.run.manifest.contract.outcome.name)
    finish(result, figures, folder=output or run / "operations" / "follow-up", as_json=as_json)


@app.command("stays")
def stays(
    run: Run,
    *,
    by: By = "site",
    aggregation: Aggregation = "as_study",
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Of the interval.")] = 0.8,
    threshold: Threshold = 5,
    output: Output = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Predicted and observed length of stay by site, beside other predictions of the same patients.

    cohortium operations stays outputs/eicu_stay/DATE-TIME
    """
    from aggregator.report.operations_figures import stay_figures
    from experiments.operations.stays import stays as judge

    with _quiet(as_json=as_json), opened(run, data=data, by=by, aggregation=aggregation, threshold=threshold) as on:
        result = judge(on.run, on.patients, level=level, terms=on.terms)
    finish(result, stay_figures(result), folder=output or run / "operations" / "stays", as_json=as_json)


@app.command("beds")
def beds(
    run: Run,
    *,
    by: By = "none",
    aggregation: Aggregation = "as_study",
    days: Annotated[int, typer.Option("--days", min=2, help="Days over which the test patients arrive.")] = 60,
    first: Annotated[int, typer.Option("--first", min=0, help="Day of the first forecast.")] = 21,
    horizon: Annotated[int, typer.Option("--horizon", min=1, max=60, help="Days ahead.")] = 7,
    arrivals: Annotated[
        Literal["known", "expected"],
        typer.Option("--arrivals", help="Who arrives is known, or only how many usually do."),
    ] = "known",
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Of the intervals.")] = 0.9,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the days of admission.")] = 0,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=1000, help="Times that these days are drawn.")] = 20,
    threshold: Threshold = 5,
    output: Output = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Occupied beds, forecast from predicted stays, against what was observed and against simpler forecasts.

    cohortium operations beds outputs/eicu_stay/DATE-TIME
    """
    from aggregator.report.operations_figures import beds_figures
    from experiments.operations.beds import Plan
    from experiments.operations.beds import beds as forecast
    from federation.privacy.randomness import seeded_streams

    plan = Plan(days=days, first=first, horizon=horizon, arrivals=arrivals, level=level, repeats=repeats)
    with _quiet(as_json=as_json), opened(run, data=data, by=by, aggregation=aggregation, threshold=threshold) as on:
        streams = seeded_streams(seed, provenance=on.run.manifest.cohort.provenance).child("operations", "beds")
        result = forecast(on.run, on.patients, plan=plan, terms=on.terms, streams=streams)
    finish(result, beds_figures(result), folder=output or run / "operations" / "beds", as_json=as_json)


def finish(result: AnalysisResult, figures: Mapping[str, bytes], *, folder: Path, as_json: bool) -> None:
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


def _quiet(*, as_json: bool) -> contextlib.AbstractContextManager[object]:
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
