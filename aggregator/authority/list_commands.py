"""``cohortium consortium certify-aggregator``, ``revoke`` and ``sites``: what the authority tells the aggregator's host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aggregator.authority.command_options import (
    DEFAULT_AUTHORITY,
    AsJson,
    AuthorityFolder,
    Output,
    PassphraseFile,
    RequestFile,
    SiteName,
    now,
    opened,
    show,
    spoken_fingerprint,
    write,
)
from federation.errors import EnrolmentRefusedError


def register(app: typer.Typer) -> None:
    """Add the commands to ``cohortium consortium``."""
    app.command("certify-aggregator")(certify_aggregator)
    app.command("revoke")(revoke)
    app.command("sites")(sites)


def certify_aggregator(
    request: RequestFile,
    *,
    name: Annotated[list[str], typer.Option("--name", help="DNS name or IP address of the gate. May be repeated.")],
    gate: Annotated[str, typer.Option("--gate", help="What sites connect to: host:port.")],
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="The request's, as the host's administrator reads it out.")
    ],
    output: Output = Path("aggregator-admission.json"),
    authority: AuthorityFolder = DEFAULT_AUTHORITY,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Give the aggregator's host its certificate. Names are yours, never the request's.

    cohortium consortium certify-aggregator request.json --name gate.example.org --gate gate.example.org:8443 --fingerprint "…"
    """
    from aggregator.authority import member_lists
    from conf.received_files import read_received
    from federation.governance.aggregator_enrolment import AggregatorRequest

    received = read_received(request, AggregatorRequest, error=EnrolmentRefusedError)
    with opened(authority, passphrase_file) as (office, keys):
        signed = member_lists.certify_aggregator(
            office, keys, received, names=name, gate=gate, heard=fingerprint, now=now()
        )
        write(output, signed)
        facts = {
            "output": str(output),
            "names": name,
            "gate": gate,
            "expires": signed.admission.expires.isoformat(),
            **spoken_fingerprint(office.authority.fingerprint),
        }
    show(
        facts,
        ["Send the file to the aggregator's host, and read this fingerprint of the authority out."],
        as_json=as_json,
    )


def revoke(
    site: SiteName,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the register, and nowhere else.")] = "",
    output: Annotated[Path, typer.Option("--output", help="The list of revocations.")] = Path("revocations.json"),
    authority: AuthorityFolder = DEFAULT_AUTHORITY,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a site from now on: all its certificates, keys and invitations. Writes the list for the aggregator's host.

    cohortium consortium revoke st_mary --reason "key stolen" --output revocations.json
    """
    from aggregator.authority import enrolling, member_lists
    from aggregator.authority.list_files import replace_revocations

    with opened(authority, passphrase_file) as (office, keys):
        number = enrolling.revoke(office, site, now=now(), reason=reason)
        signed = member_lists.signed_revocations(office, keys)
        replace_revocations(output, signed, office.authority)
    facts = {
        "site": site,
        "certificates_revoked_now": number,
        "output": str(output),
        "number": signed.revocations.number,
        "revoked_in_all": len(signed.revocations.entries),
    }
    show(facts, ["Install the list at the aggregator's host at once: `cohortium aggregator install`."], as_json=as_json)


def sites(
    *,
    output: Annotated[Path | None, typer.Option("--output", help="Write the signed list of members here.")] = None,
    revocations: Annotated[
        Path | None, typer.Option("--revocations", help="Write the list of revocations here.")
    ] = None,
    authority: AuthorityFolder = DEFAULT_AUTHORITY,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """List the sites, and write the signed lists for the aggregator's host. Only writing needs the passphrase.

    cohortium consortium sites --output members.json --revocations revocations.json
    """
    from aggregator.authority import list_files, member_lists
    from aggregator.authority.office import Office

    numbers: dict[str, int] = {}
    if output is not None or revocations is not None:
        with opened(authority, passphrase_file) as (office, keys):
            if output is not None:
                members = member_lists.signed_members(office, keys)
                list_files.replace_members(output, members, office.authority)
                numbers["members"] = members.members.number
            if revocations is not None:
                revoked = member_lists.signed_revocations(office, keys)
                list_files.replace_revocations(revocations, revoked, office.authority)
                numbers["revocations"] = revoked.revocations.number
    with Office(authority) as office:
        states = member_lists.site_states(office, now=now())
    rows = [
        {"site": state.site, "state": state.state, "expires": state.expires.isoformat(), "serial": state.serial}
        for state in states
    ]
    if as_json:
        typer.echo(json.dumps({"sites": rows, "numbers": numbers}, indent=1))
        return
    table = Table("site", "state", "certificate expires", "serial", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(row[name]) for name in ("site", "state", "expires", "serial")))
    Console(highlight=False).print(table)
