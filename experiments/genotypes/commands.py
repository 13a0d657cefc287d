"""``cohortium gwas``: associations of genetic variants over simulated hospitals."""

from __future__ import annotations

import contextlib
import datetime as dt
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from experiments.analyse_options import COMMAND_FILE, MEMORY, RESULT_FILE, AsJson, Data, Memory, Output

if TYPE_CHECKING:
    from federation.statistics.result import AnalysisResult

_HIDDEN: Final = ("loadings",)
"""In the file, not on the terminal."""


def gwas(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]", help="Study, method and what differs from the defaults."),
    ] = None,
    *,
    output: Output = None,
    data: Data = None,
    memory: Memory = MEMORY,
    as_json: AsJson = False,
) -> None:
    """Test every genetic variant over all hospitals as if their genotypes were in one place, from secure sums.

    cohortium gwas study=generated_genotypes method=linear phenotype=trait covariates=[age,male] components=2

    Methods: allelic, cmh, linear, logistic; score evaluates a polygenic score. A wrong word is answered with the nearest right one.
    """
    from experiments.genotypes.settings import read_gwas_settings

    chosen = overrides or []
    settings, rest = read_gwas_settings(chosen)
    from experiments.genotypes.planning import gwas_analyst, gwas_plan
    from experiments.genotypes.studies import load_genotype_study
    from experiments.simulate import default_data

    with (
        contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(),
        tempfile.TemporaryDirectory(prefix="cohortium-") as scratch,
    ):
        place = Path(scratch)
        study = load_genotype_study(rest, folder=place / "hospitals", data=data or default_data())
        analysis = gwas_plan(settings, study)
        result = gwas_analyst(study, settings, memory=memory, work=place).run(analysis)
    folder = output or Path("outputs") / study.study.name / dt.datetime.now(dt.UTC).strftime("%Y-%m-%d_%H-%M-%S")
    written = _write(result, folder, command=shlex.join(["cohortium", "gwas", *chosen]))
    if as_json:
        typer.echo(result.model_dump_json(indent=1))
    else:
        _show(result, written)


def _write(result: AnalysisResult, folder: Path, *, command: str) -> list[Path]:
    from aggregator.statistics.figures import AS_TABLES
    from aggregator.statistics.genotype_figures import genotype_figure_files
    from federation.durable_files import write_durably

    write_durably(folder / COMMAND_FILE, command.encode())
    tables = {f"{table.name}.tsv": table.as_tsv() for table in result.tables if table.name in AS_TABLES}
    files = {
        RESULT_FILE: result.model_dump_json(indent=1).encode(),
        **tables,
        **genotype_figure_files(result),
    }
    for name, content in files.items():
        write_durably(folder / name, content)
    return [folder / name for name in files]


def _show(result: AnalysisResult, files: list[Path]) -> None:
    """The strongest variants first; everything is in the files."""
    from experiments.analyse_tables import show
    from experiments.genotypes.shown_tables import for_terminal

    shown = [for_terminal(table) for table in result.tables if table.name not in _HIDDEN]
    show(Console(highlight=False), result.model_copy(update={"tables": tuple(shown)}), files=files)
