"""``cohortium simulate``, ``studies``, ``sweep`` and ``report``."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from federation.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from experiments.summary import SimulationSummary

studies_app = typer.Typer(help="The named studies.", no_args_is_help=True, pretty_exceptions_enable=False)
sweep_app = typer.Typer(help="Finished sweeps.", no_args_is_help=True, pretty_exceptions_enable=False)

_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]
_Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="COHORTIUM_DATA", help="Folder of downloaded records, for studies that need them."),
]


def simulate(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[GROUP=OPTION] [KEY=VALUE]",
            help="Such as study=heart_disease privacy=patient_level privacy.epsilon=2 algorithm=fedprox. "
            "With -m, several values each: privacy.epsilon=1,2,4,8.",
        ),
    ] = None,
    *,
    multirun: Annotated[bool, typer.Option("--multirun", "-m", help="Sweep over every combination of values.")] = False,
    resume: Annotated[Path | None, typer.Option("--resume", help="Continue the interrupted run in this folder.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder.  [default: outputs/STUDY/DATE-TIME]")
    ] = None,
    data: _Data = None,
    as_json: _Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    cfg: Annotated[bool, typer.Option("--cfg", help="Print the composed settings and stop.")] = False,
) -> int:
    """Simulate a federation of hospitals: train, compare, track and report."""
    from experiments import runs

    chosen = overrides or []
    progress = None if quiet else Console(stderr=True, highlight=False)
    if resume is not None:
        _check_resume(resume, chosen, others={"-m": multirun, "--output": output is not None, "--cfg": cfg})
        request = runs.Resumption(folder=resume)
    else:
        request = runs.plan(chosen, multirun=multirun, output=output)
    if cfg:
        typer.echo(runs.settings_text(request, as_json=as_json))
        return 0
    # Libraries print as they please; what was promised to be machine-readable stays so.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        result = runs.execute(request, data=data, progress=progress)
    if isinstance(result, runs.SweepOutcome):
        return _show_sweep(result, as_json=as_json)
    _show_summary(result, as_json=as_json)
    return 0
