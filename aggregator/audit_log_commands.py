"""``cohortium aggregator audit``: verify, show and export the coordinator's audit log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conf.audit_views import LOG_FILE, export_log_file, show_log_file, verify_log_file
from federation.errors import InvalidInputError

if TYPE_CHECKING:
    from federation.protocol.signatures import SigningKey

audit_app = typer.Typer(
    help="The coordinator's audit log: what was launched, asked, answered and released.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
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
    verify_log_file(log or _home(home) / LOG_FILE, against=against, as_json=as_json)


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
    show_log_file(log or _home(home) / LOG_FILE, event=event, last=last, as_json=as_json)


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
    folder = _home(home)
    export_log_file(log or folder / LOG_FILE, output, key=_key(folder))


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
