"""``cohortium aggregator``: the machine that coordinates studies."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aggregator.host import enrolment_commands
from aggregator.host.home_paths import DEFAULT_HOME, HOME_VARIABLE
from federation.errors import InvalidInputError, TransportError

app = typer.Typer(
    help="Run the machine that coordinates studies.", no_args_is_help=True, pretty_exceptions_enable=False
)

HomeOption = Annotated[Path, typer.Option("--home", envvar=HOME_VARIABLE, help="The host's folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")]
_LEAVE_SECONDS: Final = 30.0
enrolment_commands.register(app)


@app.command()
def init(
    *,
    consortium: Annotated[str, typer.Option("--consortium", help="The consortium's short name.")],
    gate: Annotated[str, typer.Option("--gate", help="What sites connect to: public name and port.")],
    listen: Annotated[
        str | None, typer.Option("--listen", help="Where the gate listens. [0.0.0.0, gate's port]")
    ] = None,
    first_port: Annotated[int, typer.Option("--first-port", help="First of four ports on loopback.")] = 9440,
    tracking: Annotated[bool, typer.Option("--tracking/--no-tracking", help="Run MLflow here.")] = True,
    home: HomeOption = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Make the host's folder with its settings and secrets. Repeating it changes nothing.

    cohortium aggregator init --consortium hearts --gate gate.example.org:8443
    """
    from aggregator.host.home import AggregatorHome
    from aggregator.host.home_paths import HostLayout
    from aggregator.host.preparing import prepare_home
    from federation.protocol.signatures import SigningKey

    data = {
        "consortium": consortium,
        "gate": gate,
        "listen": listen or f"0.0.0.0:{gate.rpartition(':')[2]}",
        "superlink_port": first_port,
        "mlflow_port": first_port + 1,
        "health_port": first_port + 2,
        "gate_health_port": first_port + 3,
        "tracking": tracking,
    }
    layout = HostLayout(home)
    prepare_home(layout, AggregatorHome.from_data(data, error=InvalidInputError))
    coordinator = SigningKey.from_bytes(layout.coordinator_key.read_bytes()).public_key
    facts = {"home": str(layout.folder), "gate": gate, "listen": str(data["listen"]), "coordinator_key": coordinator}
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    _show(facts)
    _say("Next: `cohortium aggregator request`, for the authority to certify.")


@app.command()
def start(*, home: HomeOption = DEFAULT_HOME) -> None:
    """Run SuperLink, gate, MLflow and coordinators in the foreground, until Ctrl-C or `cohortium aggregator stop`.

    cohortium aggregator start
    """
    import logging

    from aggregator.host.home_paths import HostLayout
    from aggregator.host.host import serve
    from aggregator.host.programs import QUIET

    os.environ.update(QUIET)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "alembic", "flwr"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    serve(HostLayout(home))


@app.command()
def status(*, home: HomeOption = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Show processes, lists and studies. Exit code 51 if something is wrong or nothing runs.

    cohortium aggregator status
    """
    from aggregator.host.home_paths import HostLayout
    from aggregator.host.host_status import host_status

    found = host_status(HostLayout(home))
    if as_json:
        typer.echo(json.dumps(found.facts, indent=1))
    else:
        _show_status(found.facts)
    if found.problems:
        raise typer.Exit(TransportError.exit_code)


@app.command()
def stop(*, home: HomeOption = DEFAULT_HOME, as_json: _Json = False) -> None:
    """End the host that runs in the folder, in order. Studies go on where they were at the next start.

    cohortium aggregator stop
    """
    from aggregator.host.home_paths import HostLayout
    from aggregator.host.host import running_process

    layout = HostLayout(home)
    layout.read()
    process = running_process(layout)
    if process is not None:
        os.kill(process, signal.SIGTERM)
        end = time.monotonic() + _LEAVE_SECONDS
        while running_process(layout) is not None:
            if time.monotonic() > end:
                raise TransportError(
                    f"expected the host's process {process} to end within {_LEAVE_SECONDS:.0f} s, it still runs",
                    remedy=f"see {layout.logs}, then end the process yourself: what it started ends with it",
                )
            time.sleep(0.1)
    facts = {"home": str(layout.folder), "stopped": process is not None}
    typer.echo(json.dumps(facts, indent=1) if as_json else ("stopped" if process else "nothing was running"))


def _say(text: str, *, style: str = "") -> None:
    Console(highlight=False, soft_wrap=True).print(Text(text, style=style))


def _show(facts: dict[str, str]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(name, Text(value))
    Console(highlight=False, soft_wrap=True).print(table, markup=False)


def _show_status(facts: dict[str, object]) -> None:
    processes = facts["processes"]
    studies = facts["studies"]
    problems = facts["problems"]
    if isinstance(processes, dict):
        table = Table("process", "number", "restarts", box=None, padding=(0, 2, 0, 0))
        for name, entry in processes.items():
            table.add_row(Text(str(name)), str(entry["process"] or "down"), str(entry["restarts"]))
        Console(highlight=False).print(table)
    if isinstance(studies, list) and studies:
        table = Table("study", "version", "phase", "rounds", box=None, padding=(0, 2, 0, 0))
        for entry in studies:
            table.add_row(Text(entry["study"]), str(entry["version"]), entry["phase"], entry["rounds"])
        Console(highlight=False).print(table)
    if isinstance(problems, list):
        for problem in problems:
            _say(f"problem: {problem}", style="red")
        if not problems:
            _say("all is well", style="green")
