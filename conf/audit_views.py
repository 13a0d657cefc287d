"""What the commands about an audit log do, the same at a site and at the aggregator: verify, show and export it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import AuditLogDamagedError, InvalidInputError

if TYPE_CHECKING:
    from federation.governance.audit import AuditEntry
    from federation.protocol.signatures import SigningKey

LOG_FILE: Final = "audit.jsonl"


def verify_log_file(path: Path, *, against: Path | None, as_json: bool) -> None:
    """Check a log and print the verdict.

    Args:
        path: The log.
        against: Another party's export, whose witnessed heads the log must hold.
        as_json: Print data.

    Raises:
        typer.Exit: With code 64 if an entry does not hold.
    """
    from federation.governance.audit_export import compare, verify_log

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


def show_log_file(path: Path, *, event: str | None, last: int, as_json: bool) -> None:
    """Print entries up to the first bad one, the newest last.

    Args:
        path: The log.
        event: Only entries of this event.
        last: So many at most.
        as_json: Print data.

    Raises:
        AuditLogDamagedError: After printing, if an entry does not hold.
    """
    from federation.governance.audit_log import read_log

    read = read_log(path)
    entries = [entry for entry in read.entries if event is None or entry.event == event][-last:]
    if as_json:
        typer.echo(json.dumps([entry.as_data() for entry in entries], indent=1))
    else:
        Console(highlight=False).print(_table(entries))
    if read.problem is not None:
        raise read.problem


def export_log_file(path: Path, output: Path, *, key: SigningKey) -> None:
    """Write the whole log as one signed JSON file.

    Args:
        path: The log.
        output: Where to; must not exist.
        key: Of the log's owner.

    Raises:
        InvalidInputError: If ``output`` exists.
    """
    from federation.durable_files import write_durably
    from federation.governance.audit_export import export_log

    signed = export_log(path, key=key, now=dt.datetime.now(tz=dt.UTC))
    if output.exists():
        raise InvalidInputError(f"expected {output} to be new, it exists", remedy="choose another --output")
    write_durably(output, signed.model_dump_json().encode() + b"\n")
    head = signed.export.head
    typer.echo(f"{output}: {head.sequence} entries of the log of {head.log}, the last is {head.entry_hash}")


def _table(entries: Sequence[AuditEntry]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("entry", "time", "event", "who", "concerns", "study", "round", "reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading in {"entry", "round"} else "left")
    for entry in entries:
        cells = (entry.time, entry.event, entry.actor, entry.site or "", (entry.study or "")[:19])
        number = "" if entry.round_number is None else str(entry.round_number)
        table.add_row(str(entry.sequence), *map(Text, cells), number, Text(entry.reason or ""))
    return table
