"""``cohortium site enrol`` and ``renew``: how a hospital becomes and stays a member. Documents come and go as files."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import EnrolmentRefusedError, InvalidInputError
from site_client.home_paths import DEFAULT_HOME, HOME_VARIABLE, SiteLayout

_Home = Annotated[Path, typer.Option("--home", envvar=HOME_VARIABLE, help="The site's home folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``cohortium site``."""
    app.command("enrol")(enrol)
    app.command("renew")(renew)


def enrol(
    *,
    invitation: Annotated[
        Path | None, typer.Option("--invitation", help="Step 1: the consortium's invitation.")
    ] = None,
    admission: Annotated[Path | None, typer.Option("--admission", help="Step 2: the consortium's answer.")] = None,
    output: Annotated[Path, typer.Option("--output", help="Step 1: where to write the request.")] = Path(
        "request.json"
    ),
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", help="Step 1: the authority's, as its officer reads it out.")
    ] = None,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Enrol this site: first with the invitation, which makes all keys here, then with the admission.

    cohortium site enrol --invitation st_mary.invitation.json --output st_mary.request.json
    cohortium site enrol --admission st_mary.admission.json
    """
    layout = SiteLayout(home)
    if invitation is not None and admission is None:
        _request(layout, invitation, output, heard=fingerprint, as_json=as_json)
    elif admission is not None and invitation is None:
        _install(layout, admission, as_json=as_json)
    else:
        raise InvalidInputError(
            "expected one of --invitation and --admission, got " + ("none" if invitation is None else "both"),
            remedy="step 1 is `--invitation FILE`, step 2 `--admission FILE`",
        )


def renew(
    *,
    output: Annotated[Path, typer.Option("--output", help="Where to write the request.")] = Path("renewal.json"),
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Ask for the next certificate: due after 60 of its 90 days. The answer is installed like the first admission.

    cohortium site renew --output st_mary.renewal.json
    """
    from federation.durable_files import write_durably
    from site_client.enrolment import request_renewal

    request = request_renewal(SiteLayout(home))
    write_durably(output, request.model_dump_json(indent=1).encode())
    facts = {
        "site": request.claim.site,
        "request": str(output),
        "replaces": str(request.claim.replaces),
        **_fingerprint("request", request.claim.fingerprint),
    }
    notes = [
        f"Send {output} to the consortium; it holds no secret.",
        "When the answer comes: cohortium site enrol --admission FILE",
    ]
    _show(facts, notes, as_json=as_json)


def _request(layout: SiteLayout, file: Path, output: Path, *, heard: str | None, as_json: bool) -> None:
    from conf.received_files import read_received
    from federation.durable_files import write_durably
    from federation.governance.enrolment import Invitation
    from site_client.enrolment import request_enrolment

    invitation = read_received(file, Invitation, error=EnrolmentRefusedError)
    now = dt.datetime.now(tz=dt.UTC)
    request = request_enrolment(layout, invitation, now=now, heard=heard)
    write_durably(output, request.model_dump_json(indent=1).encode())
    facts = {
        "site": invitation.site,
        "consortium": invitation.consortium,
        "home": str(layout.folder),
        "request": str(output),
        "identity_key": request.claim.identity_key,
        **_fingerprint("authority", invitation.authority_fingerprint),
        **_fingerprint("request", request.claim.fingerprint),
    }
    notes = [
        "Telephone the consortium at a number you know from elsewhere: ask for the authority's fingerprint and compare.",
        "Read your request's fingerprint out to them.",
        f"Send {output} to the consortium; it holds no secret. Then: cohortium site enrol --admission FILE",
    ]
    _show(facts, notes, as_json=as_json)


def _install(layout: SiteLayout, file: Path, *, as_json: bool) -> None:
    from conf.received_files import read_received
    from federation.governance.enrolment import SignedAdmission
    from site_client.accounts import share_with_gateway
    from site_client.enrolment import install_admission

    admission = read_received(file, SignedAdmission, error=EnrolmentRefusedError)
    home = install_admission(layout, admission, now=dt.datetime.now(tz=dt.UTC))
    share_with_gateway(layout)
    facts = {
        "site": home.site,
        "consortium": home.consortium,
        "home": str(layout.folder),
        "gate": home.gate,
        "coordinator_key": home.coordinator_key,
        "certificate_expires": admission.admission.expires.isoformat(),
        **_fingerprint("authority", home.authority_fingerprint),
    }
    _show(facts, ["This site is a member. Renew the certificate after 60 days: cohortium site renew"], as_json=as_json)


def _fingerprint(of: str, fingerprint: str) -> dict[str, str]:
    from federation.governance.fingerprints import spoken

    return {f"{of}_fingerprint": fingerprint, f"{of}_read_out": spoken(fingerprint)}


def _show(facts: Mapping[str, str], notes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(value))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for note in notes:
        console.print(note, markup=False)
