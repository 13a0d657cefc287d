"""``cohortium tracking``: see and deliver what waits for MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from federation.errors import InvalidInputError, TransportError

if TYPE_CHECKING:
    from aggregator.mlflow_delivery import Delivery
    from aggregator.outbox import Outbox
    from aggregator.tracking import TrackingTarget

app = typer.Typer(
    help="Deliver tracked results to MLflow, and see what waits.", no_args_is_help=True, pretty_exceptions_enable=False
)

_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Output folder of a run, or any folder above it.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")]


@app.command()
def deliver(
    folder: _Folder,
    *,
    uri: Annotated[
        str | None,
        typer.Option("--uri", help="Deliver here from now on, everything, instead of where the run was started for."),
    ] = None,
    experiment: Annotated[str | None, typer.Option("--experiment", help="MLflow experiment, with --uri.")] = None,
    as_json: _Json = False,
) -> None:
    """Send what waits, and try again what was refused. Exit code 51 if something still waits."""
    from aggregator.mlflow_delivery import deliver as deliver_outbox

    facts: list[dict[str, object]] = []
    waiting, failures = 0, set[str]()
    for outbox in _outboxes(folder):
        target = _target(outbox, uri=uri, experiment=experiment)
        if target is None:
            continue
        if uri is not None or experiment is not None:
            outbox.note_target(target)
        outbox.forget(target, only_refused=True)
        delivery = deliver_outbox(outbox, target)
        waiting += delivery.waiting
        failures |= {delivery.failure} - {""}
        facts.append(_facts(outbox, target, delivery))
    if not (as_json and waiting):  # then the error is the one JSON document
        _show(facts, as_json=as_json)
    if waiting:
        raise TransportError(
            f"expected MLflow to take all events, {waiting} wait ({'; '.join(sorted(failures))})",
            remedy="start the server or correct its address, then repeat this command; nothing is lost and nothing is sent twice",
            waiting=waiting,
        )


@app.command()
def status(folder: _Folder, *, as_json: _Json = False) -> None:
    """Show what was recorded, what arrived, what waits, and why."""
    facts = [
        _facts(outbox, target)
        for outbox in _outboxes(folder)
        if (target := _target(outbox, uri=None, experiment=None)) is not None
    ]
    _show(facts, as_json=as_json)


def _outboxes(folder: Path) -> list[Outbox]:
    from aggregator.outbox import OUTBOX_FILE, Outbox

    files = sorted(folder.rglob(OUTBOX_FILE))
    if not files:
        raise InvalidInputError(
            f"expected a folder with a tracking outbox in it, found none in {folder}",
            remedy="give the output folder that `cohortium simulate` printed, of a run with tracking",
        )
    return [Outbox(path.parent) for path in files]


def _target(outbox: Outbox, *, uri: str | None, experiment: str | None) -> TrackingTarget | None:
    from aggregator.tracking import TrackingTarget

    recorded = outbox.target  # None: the run was stopped before it started
    if recorded is None or (uri is None and experiment is None):
        return recorded
    return TrackingTarget.choose(
        "server", uri=uri or recorded.uri, experiment=experiment or recorded.experiment, output=outbox.folder
    )


def _facts(outbox: Outbox, target: TrackingTarget, delivery: Delivery | None = None) -> dict[str, object]:
    from aggregator.tracking import mlflow_ui_command

    counts, attempt = outbox.counts(target), outbox.last_attempt(target)
    return {
        "folder": str(outbox.folder),
        "study": outbox.fact("study"),
        "status": outbox.fact("status"),
        "target": target.uri,
        "experiment": target.experiment,
        "recorded": counts.recorded,
        "delivered": counts.delivered,
        "delivered_now": delivery.delivered if delivery else 0,
        "waiting": counts.waiting,
        "refused": outbox.refusals(target),
        "last_attempt": attempt.time,
        "last_failure": attempt.failure,
        "mlflow": mlflow_ui_command(target),
    }


def _show(facts: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    table = Table("folder", "run", "recorded", "delivered", "waiting", "refused", "last failure", box=None)
    for fact in facts:
        refused = fact["refused"]
        number = len(refused) if isinstance(refused, dict) else 0
        columns = ("folder", "status", "recorded", "delivered", "waiting")
        table.add_row(*(str(fact[column]) for column in columns), str(number), str(fact["last_failure"]))
    console.print(table, markup=False)
    for command in dict.fromkeys(str(fact["mlflow"]) for fact in facts):
        console.print(command, markup=False)
