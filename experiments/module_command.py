"""A module that is run by itself, ``python -m ...``: options by typer, errors in a line with their exit code."""

from __future__ import annotations

from collections.abc import Callable

import typer
from rich.console import Console

from federation.errors import CohortiumError


def run_module(command: Callable[..., object]) -> None:
    """Run a module's command with the words it was given.

    Args:
        command: Its parameters are its options.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        app()
    except CohortiumError as failure:
        Console(stderr=True).print(str(failure), markup=False, highlight=False)
        raise SystemExit(failure.exit_code) from None
