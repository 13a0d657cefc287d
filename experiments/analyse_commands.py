"""``cohortium analyse``: exact statistics over simulated hospitals."""

from __future__ import annotations

import contextlib
import datetime as dt
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from experiments.analyse_options import COMMAND_FILE, MEMORY, RESULT_FILE, AsJson, Data, Memory, Output

if TYPE_CHECKING:
    from federation.statistics.result import AnalysisResult


def analyse(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]", help="Study, analysis and what differs from the defaults."),
    ] = None,
    *,
    output: Output = None,
    data: Data = None,
    memory: Memory = MEMORY,
    as_json: AsJson = False,
) -> None:
    """Analyse the records of a federation of hospitals: the same numbers as with all records in one place, from secure sums.

    cohortium analyse study=heart_disease analysis=glm formula='outcome ~ age + male + cp'

    Analyses: describe, crosstab, glm, penalised_logistic, kaplan_meier, log_rank, cox, mantel_haenszel, meta, pca. A wrong word
    is answered with the nearest right one.
    """
    from experiments.analyse_settings import read_settings

    chosen = overrides or []
    settings, rest = read_settings(chosen)
    from experiments.analyse_plans import plan
    from experiments.analyse_sites import load_analysed_study, noise_shares, open_analyst
    from experiments.analyse_tables import show
    from experiments.simulate import default_data

    with (
        contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(),
        tempfile.TemporaryDirectory(prefix="cohortium-") as scratch,
    ):
        study = load_analysed_study(rest, folder=Path(scratch), data=data or default_data())
        is_masked = settings.aggregation == "masked"
        analysis = plan(settings, study.contract, shares=noise_shares(study, is_masked=is_masked))
        analyst, _ = open_analyst(
            study,
            threshold=settings.threshold,
            is_masked=is_masked,
            memory=memory,
            work=Path(scratch),
        )
        result = analyst.run(analysis)
    folder = output or Path("outputs") / study.name / dt.datetime.now(dt.UTC).strftime("%Y-%m-%d_%H-%M-%S")
    written = _write(result, folder, command=shlex.join(["cohortium", "analyse", *chosen]))
    if as_json:
        typer.echo(result.model_dump_json(indent=1))
    else:
        show(Console(highlight=False), result, files=written)


def _write(result: AnalysisResult, folder: Path, *, command: str) -> list[Path]:
    from aggregator.statistics.figures import figure_files
    from federation.durable_files import write_durably

    write_durably(folder / COMMAND_FILE, command.encode())
    files = {RESULT_FILE: result.model_dump_json(indent=1).encode(), **figure_files(result)}
    for name, content in files.items():
        write_durably(folder / name, content)
    return [folder / name for name in files]
