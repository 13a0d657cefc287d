"""``cohortium aggregator request`` and ``install``: the host's side of what passes between it and the authority."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from aggregator.host.home_paths import DEFAULT_HOME, HOME_VARIABLE, HostLayout
from federation.errors import EnrolmentRefusedError

if TYPE_CHECKING:
    from federation.governance.aggregator_enrolment import SignedAggregatorAdmission
    from federation.governance.enrolment import SignedMembers, SignedRevocations

_Home = Annotated[Path, typer.Option("--home", envvar=HOME_VARIABLE, help="The host's home folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``cohortium aggregator``."""
    app.command("request")(request)
    app.command("install")(install)


def request(
    *,
    output: Annotated[Path, typer.Option("--output", help="Where to write the request.")] = Path(
        "aggregator-request.json"
    ),
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Make the host's keys, if there are none, and ask the authority for the gate's certificate.

    cohortium aggregator request --output aggregator-request.json
    """
    from aggregator.host.enrolment import make_request
    from federation.durable_files import write_durably
    from federation.governance.fingerprints import spoken

    layout = HostLayout(home)
    made = make_request(layout, layout.read().consortium)
    write_durably(output, made.model_dump_json(indent=1).encode())
    facts = {
        "output": str(output),
        "coordinator_key": made.claim.coordinator_key,
        "request_fingerprint": made.claim.fingerprint,
        "read_out": spoken(made.claim.fingerprint),
    }
    _show(facts, "Send the file to the authority, and read this fingerprint out by telephone.", as_json=as_json)


def install(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An admission, a list of members or one of revocations.")
    ],
    *,
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", help="The authority's, as its officer reads it out. The first time only."),
    ] = None,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Install what the authority sent: checked against its pinned key, and never older than what is in force.

    cohortium aggregator install aggregator-admission.json --fingerprint "…"
    cohortium aggregator install revocations.json
    """
    from aggregator.host import enrolment
    from federation.governance.aggregator_enrolment import SignedAggregatorAdmission
    from federation.governance.enrolment import SignedMembers
    from federation.governance.fingerprints import spoken

    layout, document = HostLayout(home), _read(file)
    match document:
        case SignedAggregatorAdmission():
            now = dt.datetime.now(tz=dt.UTC)
            authority = enrolment.install_admission(layout, document, heard=fingerprint, now=now)
            facts: dict[str, object] = {
                "installed": "admission",
                "gate": document.admission.gate,
                "expires": document.admission.expires.isoformat(),
                "authority_fingerprint": authority.fingerprint,
                "read_out": spoken(authority.fingerprint),
            }
        case SignedMembers():
            enrolment.install_members(layout, document)
            sites = [member.site for member in document.members.members]
            facts = {"installed": "members", "number": document.members.number, "sites": sites}
        case _:
            enrolment.install_revocations(layout, document)
            entries = len(document.revocations.entries)
            facts = {"installed": "revocations", "number": document.revocations.number, "certificates": entries}
    _show(facts, "A gate that is running takes lists over within five seconds.", as_json=as_json)


def _read(file: Path) -> SignedAggregatorAdmission | SignedMembers | SignedRevocations:
    from conf.received_files import read_bounded
    from federation.governance.aggregator_enrolment import SignedAggregatorAdmission
    from federation.governance.enrolment import SignedMembers, SignedRevocations

    content = read_bounded(file)
    try:
        data: object = json.loads(content)
    except ValueError:
        data = None
    for name, kind in (
        ("admission", SignedAggregatorAdmission),
        ("members", SignedMembers),
        ("revocations", SignedRevocations),
    ):
        if isinstance(data, dict) and name in data:
            return kind.from_json(content, error=EnrolmentRefusedError)
    raise EnrolmentRefusedError(
        f"expected an admission or a list of the consortium's authority in {file}, got something else",
        remedy="ask the authority for the file again",
        reason="kind",
    )


def _show(facts: Mapping[str, object], note: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        console.print(Text(f"{name.replace('_', ' ')}: {shown}"))
    console.print(note, markup=False)
