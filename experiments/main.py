"""The command ``cohortium``: one root, every part's commands below it, and one way to say what went wrong.

Nothing heavy is imported until a command needs it: ``cohortium --help`` answers at once. An error is one message and
what to do about it, with an exit code of its own (:mod:`federation.errors`); only ``--debug`` shows a traceback.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import click
import typer

from experiments.command_tree import needed
from federation.errors import (
    CohortiumError,
    InternalError,
    InvalidInputError,
    MissingDependencyError,
    StudyInterruptedError,
)

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


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        from importlib import metadata

        try:
            number = metadata.version("cohortium")
        except metadata.PackageNotFoundError:
            number = "(not installed: run from its source folder)"
        typer.echo(f"cohortium {number}")
        raise typer.Exit


def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere.")] = False,
) -> None:
    """Train and evaluate models across hospitals without moving a patient record."""


class _Ending:
    """The last of what is done at exit, after all threads have ended: leave without taking every module apart.

    That takes most of a second once PyTorch is imported, and the system frees memory, files and sockets all the same.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        """``None`` until the command has ended: what ends otherwise ends as Python ends it."""

    def leave(self) -> None:
        """End with the command's exit code, if its words could be written."""
        if self.code is None:
            return
        logging.shutdown()  # registered when it was imported, before this: its turn would come afterwards
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            return
        os._exit(self.code)


def main() -> None:
    """Entry point of the command ``cohortium``."""
    ending = _Ending()
    atexit.register(ending.leave)  # the first to be registered is the last to be called
    ending.code = run(sys.argv[1:])
    sys.exit(ending.code)


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
        result = needed(words, callback=root)(
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


def _say(error: CohortiumError, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(error.as_dict(), indent=1, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print("error:", style="bold red", end=" ")
    console.print(error.message, markup=False, soft_wrap=True)
    if error.remedy:
        console.print(f"  → {error.remedy}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
