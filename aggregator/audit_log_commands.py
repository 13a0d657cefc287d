"""``cohortium aggregator audit``: verify, show and export the coordinator's audit log."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import AuditLogDamagedError, InvalidInputError

if TYPE_CHECKING:
    from federation.governance.audit import AuditEntry
    from federation.protocol.signatures import SigningKey

audit_app = typer.Typer(
    help="The coordinator's audit log: what was launched, asked, answered and released.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
LOG_FILE = "audit.jsonl"
_KEY = "coordinator.key"
_KEY_BYTES = 32

_Home = Annotated[
    Path | None, typer.Option("--home", envvar="COHORTIUM_AGGREGATOR", help="The aggregator's home folder.")
]
_Log = Annotated[Path | None, typer.Option("--log", help="Another log file than the home folder's.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


@audit_app.command()
def verify(
    *,
    home: _Home = None,
    log: _Log = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Another party's export: this log must hold what that one has seen."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Check every entry and signature; exit code 64 and the number of the first bad entry if one does not hold.

    cohortium aggregator audit verify --against site_audit.json
    """
    from federation.governance.audit_export import compare, verify_log

    path = log or _home(home) / LOG_FILE
    found = compare(path, against) if against is not None else verify_log(path)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        verdict, *rest = found.lines()
        console = Console(highlight=False, soft_wrap=True)
        console.print(Text(verdict, style="green" if found.intact else "bold red"))
        for line in rest:
            console.print(Text(line))
    if not found.intact:
        raise typer.Exit(AuditLogDamagedError.exit_code)


@audit_app.command()
def show(
    *,
    home: _Home = None,
    log: _Log = None,
    event: Annotated[str | None, typer.Option("--event", help="Only entries of this event.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="So many entries at most, the newest.")] = 50,
    as_json: _Json = False,
) -> None:
    """Show entries up to the first bad one, the newest last.

    cohortium aggregator audit show --event request_refused
    """
    from federation.governance.audit_log import read_log

    read = read_log(log or _home(home) / LOG_FILE)
    entries = [entry for entry in read.entries if event is None or entry.event == event][-last:]
    if as_json:
        typer.echo(json.dumps([entry.as_data() for entry in entries], indent=1))
    else:
        Console(highlight=False).print(_table(entries))
    if read.problem is not None:
        raise read.problem


@audit_app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it; must not exist.")],
    *,
    home: _Home = None,
    log: _Log = None,
) -> None:
    """Write the whole log as one signed JSON file, for an auditor. It holds no patient data.

    cohortium aggregator audit export -o coordinator_audit.json
    """
    from federation.durable_files import write_durably
    from federation.governance.audit_export import export_log

    folder = _home(home)
    signed = export_log(log or folder / LOG_FILE, key=_key(folder), now=dt.datetime.now(tz=dt.UTC))
    if output.exists():
        raise InvalidInputError(f"expected {output} to be new, it exists", remedy="choose another --output")
    write_durably(output, signed.model_dump_json().encode() + b"\n")
    head = signed.export.head
    typer.echo(f"{output}: {head.sequence} entries of the log of {head.log}, the last is {head.entry_hash}")


def _home(given: Path | None) -> Path:
    return given if given is not None else Path.home() / ".cohortium" / "aggregator"


def _key(home: Path) -> SigningKey:
    from federation.protocol.signatures import SigningKey

    path = home / _KEY
    try:
        content = path.read_bytes() if path.stat().st_size == _KEY_BYTES else b""
    except OSError as failure:
        raise InvalidInputError(
            f"expected the coordinator's key at {path}, got: {failure.strerror}", remedy="give the aggregator's --home"
        ) from failure
    return SigningKey.from_bytes(content)


def _table(entries: list[AuditEntry]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("entry", "time", "event", "who", "concerns", "study", "round", "reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading in {"entry", "round"} else "left")
    for entry in entries:
        cells = (entry.time, entry.event, entry.actor, entry.site or "", (entry.study or "")[:19])
        number = "" if entry.round_number is None else str(entry.round_number)
        table.add_row(str(entry.sequence), *map(Text, cells), number, Text(entry.reason or ""))
    return table
