"""``cohortium site audit``: verify, show and export the site's audit log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conf.audit_views import LOG_FILE, export_log_file, show_log_file, verify_log_file
from federation.errors import InvalidInputError

if TYPE_CHECKING:
    from federation.protocol.signatures import SigningKey

audit_app = typer.Typer(
    help="The site's audit log: what was asked, allowed, refused and released.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_KEY = "identity"

_Home = Annotated[Path | None, typer.Option("--home", envvar="COHORTIUM_SITE", help="The site's home folder.")]
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

    cohortium site audit verify --against coordinator_audit.json
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

    cohortium site audit show --event request_refused
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

    cohortium site audit export -o site_audit.json
    """
    folder = _home(home)
    export_log_file(log or folder / LOG_FILE, output, key=_key(folder))


def _home(given: Path | None) -> Path:
    return given if given is not None else Path.home() / ".cohortium" / "site"


def _key(home: Path) -> SigningKey:
    from site_client.ledger.key_file import key_path, read_key

    key = read_key(home / _KEY)
    if key is None:
        raise InvalidInputError(
            f"expected the site's key at {key_path(home / _KEY)}, got none", remedy="give the site's --home"
        )
    return key
