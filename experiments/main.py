"""The command ``cohortium``: one root, every part's commands below it, and one way to say what went wrong.

Nothing heavy is imported until a command needs it: ``cohortium --help`` answers at once. An error is one message and
what to do about it, with an exit code of its own (:mod:`federation.errors`); only ``--debug`` shows a traceback.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import click
import typer
from rich.console import Console

from aggregator import launch_commands, proposal_commands, release_commands
from aggregator.audit_log_commands import audit_app as coordinator_audit_app
from aggregator.authority.commands import app as consortium_app
from aggregator.commands import app as study_app
from aggregator.host.commands import app as aggregator_app
from aggregator.tracking_commands import app as tracking_app
from experiments import (
    agree_commands,
    analyse_commands,
    audit_commands,
    commands,
    operations_commands,
    plan_commands,
    rehearse_commands,
)
from experiments.genotypes.commands import gwas
from federation.errors import (
    CohortiumError,
    InternalError,
    InvalidInputError,
    MissingDependencyError,
    StudyInterruptedError,
)
from site_client import approval_commands, enrolment_commands, score_commands
from site_client.audit_commands import audit_app as site_audit_app
from site_client.commands import app as site_app

EXTRA_OF_PACKAGE: Final = {
    "hydra": "simulation",
    "hydra_plugins": "simulation",
    "omegaconf": "simulation",
    "joblib": "simulation",
    "ray": "simulation",
    "sklearn": "simulation",
    "dp_accounting": "simulation",
    "formulaic": "simulation",
    "bed_reader": "genotypes",
    "pydicom": "images",
    "nibabel": "images",
    "PIL": "images",
    "wfdb": "signals",
    "edfio": "signals",
    "mlflow": "aggregator",
    "jinja2": "aggregator",
    "matplotlib": "aggregator",
    "onnx": "aggregator",
    "onnxruntime": "aggregator",
    "opacus": "site",
    "duckdb": "site",
    "pint": "site",
    "flwr": "site",
    "cryptography": "site",
    "sqlalchemy": "postgresql",
    "psycopg": "postgresql",
}
"""Top-level module of an optional package, and the extra that installs it."""

app = typer.Typer(
    name="cohortium",
    help="Train and evaluate models across hospitals without moving a patient record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("simulate")(commands.simulate)
app.command("report")(commands.report)
app.command("audit")(audit_commands.audit)
app.command("analyse")(analyse_commands.analyse)
app.add_typer(operations_commands.app, name="operations")
app.command("gwas")(gwas)
app.add_typer(commands.studies_app, name="studies")
app.add_typer(commands.sweep_app, name="sweep")
agree_commands.register(study_app)
plan_commands.register(study_app)
rehearse_commands.register(study_app)
for part in (proposal_commands, launch_commands, release_commands):
    part.register(study_app)
for part in (enrolment_commands, approval_commands, score_commands):
    part.register(site_app)
site_app.add_typer(site_audit_app, name="audit")
aggregator_app.add_typer(coordinator_audit_app, name="audit")
app.add_typer(consortium_app, name="consortium")
app.add_typer(aggregator_app, name="aggregator")
app.add_typer(study_app, name="study")
app.add_typer(tracking_app, name="tracking")
app.add_typer(site_app, name="site")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        from importlib import metadata

        try:
            number = metadata.version("cohortium")
        except metadata.PackageNotFoundError:
            number = "(not installed: run from its source folder)"
        typer.echo(f"cohortium {number}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere.")] = False,
) -> None:
    """Train and evaluate models across hospitals without moving a patient record."""


def main() -> None:
    """Entry point of the command ``cohortium``."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit code: 0, or that of the error's class (:mod:`federation.errors`).
    """
    debug, as_json = "--debug" in arguments, "--json" in arguments
    try:
        words = [argument for argument in arguments if argument != "--debug"]
        result = _needed(words)(
            args=words,
            prog_name="cohortium",
            standalone_mode=False,
        )
    except click.exceptions.NoArgsIsHelpError as help_text:
        typer.echo(help_text.format_message())
        return help_text.exit_code
    except Exception as failure:  # noqa: BLE001 - the last line of defence: no traceback unless it is asked for
        if debug:
            traceback.print_exc()
        error = _as_our_own(failure)
        _say(error, as_json=as_json)
        return error.exit_code
    if result == StudyInterruptedError.exit_code:
        _say(StudyInterruptedError("stopped by the operator"), as_json=as_json)
    return result if isinstance(result, int) else 0


def _as_our_own(failure: Exception) -> CohortiumError:
    """Any failure as one of our errors. The text of a foreign exception is never shown: it may hold a patient value."""
    match failure:
        case CohortiumError():
            return failure
        case click.ClickException():
            context = getattr(failure, "ctx", None)
            command = context.command_path if context is not None else "cohortium"
            # Typer and click both append their suggestion for an unknown command.
            message = re.sub(r"( Did you mean [^?]*\?)\1", r"\1", failure.format_message())
            return InvalidInputError(message, remedy=f"see `{command} --help`")
        case click.Abort():
            return StudyInterruptedError("stopped by the operator")
        case ModuleNotFoundError() if (failure.name or "").partition(".")[0] in EXTRA_OF_PACKAGE:
            package = (failure.name or "").partition(".")[0]
            return MissingDependencyError(
                f"expected the package {package!r}, it is not installed",
                remedy=f"pip install 'cohortium[{EXTRA_OF_PACKAGE[package]}]'",
            )
        case OSError() if failure.filename and failure.strerror:
            return InvalidInputError(
                f"cannot use {failure.filename}: {failure.strerror}",
                remedy="check that the path exists, is writable and has space left",
            )
        case _:
            return InternalError(
                f"a bug of ours: {type(failure).__name__} at {_place(failure)}",
                remedy="please report it; `--debug` shows the traceback (look for patient values before you send it)",
            )


def _place(failure: Exception) -> str:
    frames = traceback.extract_tb(failure.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"


def _needed(words: Sequence[str]) -> typer.Typer:
    """The part of the tree that these words can reach: typer builds all of what it is given before it answers.

    Whoever asks for the root's help sees every group, and of the groups only their help. Anything unknown gets the whole tree,
    whose error names what is near.
    """
    groups = {info.name: info for info in app.registered_groups}
    commands = {info.name for info in app.registered_commands}
    first = words[0] if words else "--help"
    if first not in groups and first not in commands and first != "--help":
        return app
    part = typer.Typer(name=app.info.name, help=app.info.help, no_args_is_help=True, add_completion=False)
    part.pretty_exceptions_enable = False
    part.registered_callback = app.registered_callback
    if first == "--help":
        part.registered_commands = app.registered_commands
        for name, info in groups.items():
            outline = typer.Typer(help=None if info.typer_instance is None else info.typer_instance.info.help)
            part.add_typer(outline, name=name)
    else:
        part.registered_commands = [info for info in app.registered_commands if info.name == first]
        part.registered_groups = [info for name, info in groups.items() if name == first]
    return part


def _say(error: CohortiumError, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(error.as_dict(), indent=1, ensure_ascii=False))
        return
    console = Console(stderr=True, highlight=False)
    console.print("error:", style="bold red", end=" ")
    console.print(error.message, markup=False, soft_wrap=True)
    if error.remedy:
        console.print(f"  → {error.remedy}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
