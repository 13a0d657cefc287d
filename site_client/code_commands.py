"""``cohortium site code, accept-code``: which installed code this site has accepted, and accepting another."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated, Final

import typer

from federation.errors import CodeRefusedError
from site_client.home_paths import DEFAULT_HOME, HOME_VARIABLE, SiteLayout

_Home = Annotated[Path, typer.Option("--home", envvar=HOME_VARIABLE, help="The site's home folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]
_MOST_SHOWN: Final = 20


def register(app: typer.Typer) -> None:
    """Add the commands to ``cohortium site``."""
    app.command("code")(code)
    app.command("accept-code")(accept)


def code(
    *,
    home: _Home = DEFAULT_HOME,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read every file of every library, too. Takes up to a minute.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Compare the installed code with what this site has accepted; exit code 66 if they differ.

    cohortium site code --thorough
    """
    from site_client.accepted_code import read_acceptance
    from site_client.installed_code import changed_library_files, differences, installed_code

    found, accepted = installed_code(), read_acceptance(SiteLayout(home))
    broken = tuple(f"file {name}" for name in changed_library_files(found.libraries)) if thorough else ()
    names = (*(() if accepted is None else differences(accepted.installed, found)), *broken)
    if as_json:
        data = {"code": found.code, "libraries": found.lock, "is_accepted": accepted is not None, "differ": names}
        typer.echo(json.dumps(data, indent=1))
    else:
        typer.echo(f"code       {found.code}\nlibraries  {found.lock}")
        typer.echo(_verdict(names, is_first=accepted is None))
    if names:
        raise typer.Exit(CodeRefusedError.exit_code)


def accept(
    *,
    officer: Annotated[str, typer.Option("--officer", help="Who decides, as the site wants to be quoted.")] = "",
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Accept the installed code, such as after an upgrade. It goes into the audit log, and counts from the next start on.

    cohortium site accept-code --officer "Dr A. Weiss"
    """
    from site_client.accepted_code import accept_code, changes, read_acceptance

    layout = SiteLayout(home)
    is_first = read_acceptance(layout) is None
    names = () if is_first else changes(layout)
    made = accept_code(layout, clock=lambda: dt.datetime.now(tz=dt.UTC), officer=officer).installed
    if as_json:
        typer.echo(json.dumps({"code": made.code, "libraries": made.lock, "changed": names}, indent=1))
    else:
        typer.echo(_verdict(names, is_first=is_first))
        typer.echo(f"accepted: code {made.code[:16]}…, libraries {made.lock[:16]}…; start the site again")


def _verdict(names: tuple[str, ...], *, is_first: bool) -> str:
    if is_first and not names:
        return "nothing was accepted before: the first approval of a study accepts what is installed"
    shown = [f"  {name}" for name in names[:_MOST_SHOWN]]
    more = [f"  and {len(names) - _MOST_SHOWN} more"] if len(names) > _MOST_SHOWN else []
    return "\n".join([f"{len(names)} files or libraries differ", *shown, *more]) if names else "as accepted"
