"""``cohortium consortium``: the officer's work at the authority's offline machine. Documents come and go as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aggregator.authority import list_commands
from aggregator.authority.command_options import (
    DEFAULT_AUTHORITY,
    AsJson,
    AuthorityFolder,
    Heard,
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
from federation.errors import EnrolmentRefusedError, InvalidInputError

if TYPE_CHECKING:
    from federation.governance.enrolment import SignedAdmission

app = typer.Typer(
    help="Be the consortium's authority: invite, admit, renew and revoke sites.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
list_commands.register(app)


@app.command()
def init(
    consortium: Annotated[str, typer.Argument(metavar="CONSORTIUM", help="Short name of the consortium.")],
    *,
    authority: AuthorityFolder = DEFAULT_AUTHORITY,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the authority: its keys, its certificate and its register. Once, on a machine without network.

    cohortium consortium init cardio --authority authority --passphrase-file passphrase.txt
    """
    from aggregator.authority.office import Office, read_passphrase

    made = Office.create(authority, consortium, passphrase=read_passphrase(passphrase_file), now=now())
    facts = {
        "consortium": consortium,
        "authority": str(authority.expanduser().absolute()),
        "encrypted": passphrase_file is not None,
        **spoken_fingerprint(made.fingerprint),
    }
    notes = ["Sites and the aggregator's host compare this fingerprint with you by telephone. Back the folder up."]
    if passphrase_file is None:
        notes.append("The private keys are not encrypted: whoever copies the folder is the authority.")
    show(facts, notes, as_json=as_json)


@app.command()
def invite(
    site: SiteName,
    *,
    output: Annotated[Path, typer.Option("--output", help="The invitation. Secret: for this site only.")] = Path(
        "invitation.json"
    ),
    hours: Annotated[int, typer.Option("--hours", help="How long it can be used.")] = 72,
    authority: AuthorityFolder = DEFAULT_AUTHORITY,
    as_json: AsJson = False,
) -> None:
    """Invite a site: a file with a one-time token, and a letter beside it that says what to do. No passphrase is needed.

    cohortium consortium invite st_mary --output st_mary.invitation.json
    """
    from aggregator.authority.enrolling import invite as make_invitation
    from aggregator.authority.letter import letter_of
    from aggregator.authority.office import Office
    from federation.durable_files import write_durably

    letter = output.with_suffix(".txt")
    if letter == output:
        raise InvalidInputError(
            f"expected a file name that does not end in .txt for the invitation, got {output}",
            remedy="the letter gets that name; call the invitation SITE.invitation.json",
        )
    with Office(authority) as office:
        made = make_invitation(office, site, now=now(), hours=hours)
    write_durably(output, made.model_dump_json(indent=1).encode(), secret=True)
    write_durably(letter, letter_of(made, file=output.name).encode())
    facts = {
        "site": site,
        "invitation": str(output),
        "letter": str(letter),
        "expires": made.expires.isoformat(),
        **spoken_fingerprint(made.authority_fingerprint),
    }
    show(
        facts,
        ["Send both files to the site. Be ready to read the fingerprint out when they telephone."],
        as_json=as_json,
    )


@app.command()
def admit(
    request: Annotated[Path | None, typer.Argument(metavar="[REQUEST]", help="The request to enrol.")] = None,
    *,
    fingerprint: Heard = None,
    again: Annotated[str | None, typer.Option("--again", help="Write this site's last admission once more.")] = None,
    output: Output = Path("admission.json"),
    authority: AuthorityFolder = DEFAULT_AUTHORITY,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Admit a site: check its request against its invitation, use that up, and issue a certificate for 90 days.

    cohortium consortium admit st_mary.request.json --fingerprint "…" --output st_mary.admission.json
    """
    from aggregator.authority import enrolling, member_lists
    from aggregator.authority.office import Office
    from conf.received_files import read_received
    from federation.governance.enrolment import EnrolmentRequest, SignedAdmission

    if (request is None) == (again is None):
        raise InvalidInputError(
            "expected a request, or a site with --again, got " + ("neither" if request is None else "both"),
            remedy="see `cohortium consortium admit --help`",
        )
    if request is None:
        with Office(authority) as office:
            signed = SignedAdmission.from_json(member_lists.last_admission(office, str(again)))
        _show_admission(signed, output, claimed=None, as_json=as_json)
        return
    received = read_received(request, EnrolmentRequest, error=EnrolmentRefusedError)
    with opened(authority, passphrase_file) as (office, keys):
        signed = enrolling.admit(office, keys, received, now=now(), heard=fingerprint)
    _show_admission(signed, output, claimed=received.claim.fingerprint, as_json=as_json)


@app.command()
def renew(
    request: RequestFile,
    *,
    fingerprint: Heard = None,
    output: Output = Path("admission.json"),
    authority: AuthorityFolder = DEFAULT_AUTHORITY,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a member its next certificate: its identity key vouches for the request, no invitation is needed.

    cohortium consortium renew st_mary.renewal.json --output st_mary.admission.json
    """
    from aggregator.authority import enrolling
    from conf.received_files import read_received
    from federation.governance.enrolment import RenewalRequest
    from federation.governance.fingerprints import check_spoken

    received = read_received(request, RenewalRequest, error=EnrolmentRefusedError)
    if fingerprint is not None:
        check_spoken(received.claim.fingerprint, fingerprint, what="the request")
    with opened(authority, passphrase_file) as (office, keys):
        signed = enrolling.renew(office, keys, received, now=now())
    _show_admission(signed, output, claimed=received.claim.fingerprint, as_json=as_json)


def _show_admission(signed: SignedAdmission, output: Path, *, claimed: str | None, as_json: bool) -> None:
    from federation.governance.fingerprints import spoken

    write(output, signed)
    admission = signed.admission
    facts: dict[str, object] = {
        "site": admission.site,
        "output": str(output),
        "identity_key": admission.identity_key,
        "expires": admission.expires.isoformat(),
    }
    if claimed is not None:
        facts |= {"request_fingerprint": claimed, "read_out": spoken(claimed)}
    notes = ["Send the file back to the site, and the new list of members to the aggregator's host."]
    show(facts, notes, as_json=as_json)
