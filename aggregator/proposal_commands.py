"""``cohortium study lead-key, sign, amend, propose, approvals``: from a manifest to a study that may be launched."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aggregator.template_commands import calibrate, new
from federation.errors import InvalidInputError, NotApprovedError

if TYPE_CHECKING:
    from aggregator.proposals import Standing
    from federation.documents import Json
    from federation.governance.proposals import SignedProposal
    from federation.study.manifest import StudyManifest

_Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest: YAML or JSON, plain or sealed.")]
_Proposal = Annotated[Path, typer.Argument(metavar="PROPOSAL", help="A signed proposal.")]
_Key = Annotated[Path, typer.Option("--key", help="The lead's key file.")]
_Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write the signed proposal.")]
_Seed = Annotated[
    int | None, typer.Option("--test-seed", help="Repeatable, unprotected runs of synthetic or public records.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")]


def register(study_app: typer.Typer) -> None:
    """Mount the commands on ``cohortium study``."""
    for name, command in (
        ("new", new),
        ("calibrate", calibrate),
        ("lead-key", lead_key),
        ("sign", sign),
        ("amend", amend),
        ("propose", propose),
        ("approvals", approvals),
    ):
        study_app.command(name)(command)


def lead_key(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the key. Keep it secret.")],
    as_json: _Json = False,
) -> None:
    """Make the key with which a lead signs, and print its public part, which sites put into their policy.

    cohortium study lead-key -o lead.key
    """
    from aggregator.proposals import make_lead_key
    from federation.governance.fingerprints import spoken

    key = make_lead_key(output).public_key
    if as_json:
        typer.echo(json.dumps({"lead": key, "read_out": spoken(key), "secret": str(output)}, indent=1))
        return
    _say(f"public key: {key}")
    _say(f"by telephone: {spoken(key)}")
    _say(f"secret part: {output}")


def sign(
    manifest: _Manifest,
    *,
    key: _Key,
    coordinator: Annotated[str, typer.Option("--coordinator", help="Public key of the consortium's coordinator.")],
    approvals_needed: Annotated[
        int, typer.Option("--approvals-needed", min=0, help="Other sites that must approve before a site runs it.")
    ],
    output: _Output,
    purpose: Annotated[str, typer.Option("--purpose", help="What the records are used for, for the officers.")] = "",
    test_seed: _Seed = None,
    as_json: _Json = False,
) -> None:
    """Sign a manifest as its lead: a proposal to the sites. Refuses what `study check` refuses.

    cohortium study sign study.yaml --key lead.key --coordinator 9f4c… --approvals-needed 2 -o proposal.json
    """
    from aggregator.manifest_file import read_manifest_file
    from aggregator.proposals import read_lead_key, sign_proposal

    terms: dict[str, Json] = {
        "coordinator": coordinator,
        "approvals_needed": approvals_needed,
        "purpose": purpose,
        "test_seed": test_seed,
    }
    signed = sign_proposal(read_manifest_file(manifest).manifest, read_lead_key(key), **terms)
    _write_signed(signed, output, as_json=as_json)


def amend(  # noqa: PLR0913 - the options of a command, all keyword-only but one
    manifest: _Manifest,
    *,
    supersedes: Annotated[Path, typer.Option("--supersedes", help="The signed proposal that is replaced.")],
    key: _Key,
    output: _Output,
    approvals_needed: Annotated[int | None, typer.Option("--approvals-needed", min=0, help="Else as before.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="Else as before.")] = None,
    start_round: Annotated[
        int | None, typer.Option("--start-round", min=1, help="Start with the old version's model after this round.")
    ] = None,
    start_model: Annotated[
        str | None, typer.Option("--start-model", help="Digest of that model, as `study withdraw` prints it.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Sign the next version of a study. Every site has to approve it again; the old version ends where it is known.

    cohortium study amend study-2.yaml --supersedes proposal.json --key lead.key -o proposal-2.json
    """
    from aggregator.manifest_file import read_manifest_file
    from aggregator.proposals import amend as make_amendment
    from aggregator.proposals import read_lead_key
    from federation.governance.changes import changes

    old, new = _read(supersedes), read_manifest_file(manifest).manifest
    terms: dict[str, Json] = {"approvals_needed": approvals_needed, "purpose": purpose}
    if start_round is not None or start_model is not None:
        terms["start"] = _start(new, old.proposal.manifest, start_round, start_model)
    signed = make_amendment(new, read_lead_key(key), old=old, **terms)
    if not as_json:
        table = Table("what", "before", "now", box=None, padding=(0, 2, 0, 0))
        for change in changes(old.proposal, signed.proposal):
            table.add_row(Text(change.name), Text(change.before), Text(change.after))
        Console(highlight=False).print(table)
    _write_signed(signed, output, as_json=as_json)


def propose(
    proposal: _Proposal,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the proposal and a letter for each site.")],
    as_json: _Json = False,
) -> None:
    """Write what is sent to the sites: the proposal, and a letter for each with its commands and what to compare.

    cohortium study propose proposal.json -o letters
    """
    from aggregator.proposals import letters
    from federation.durable_files import write_durably

    signed = _read(proposal)
    signed.check()
    written = {"proposal.json": signed.model_dump_json(indent=1)}
    written |= {f"{site}.txt": text for site, text in letters(signed, file="proposal.json").items()}
    for name, text in written.items():
        write_durably(output / name, text.encode())
    if as_json:
        typer.echo(json.dumps({"files": [str(output / name) for name in written]}, indent=1))
    else:
        for name in written:
            _say(f"written  {output / name}")


def approvals(
    proposal: _Proposal,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="DECISION...", help="Decisions that the sites sent back.")
    ] = None,
    *,
    known: Annotated[
        list[Path] | None, typer.Option("--known", help="Another proposal of the study, such as an amendment.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write proposal and decisions as one file for the sites.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Show who has approved, declined, withdrawn or not answered; exit code 62 if the study may not be launched.

    cohortium study approvals proposal.json approve-north.json approve-south.json -o dossier.json
    """
    from aggregator.proposals import standing_of
    from conf.received_files import read_received
    from federation.durable_files import write_durably
    from federation.governance.approvals import Dossier, decisions
    from federation.governance.proposals import SignedApproval

    signed = _read(proposal)
    signed.check()
    found = {str(path): read_received(path, SignedApproval) for path in files or []}
    others = [_read(path) for path in known or []]
    standing = standing_of(signed, found, now=dt.datetime.now(tz=dt.UTC), known=others)
    if output is not None:
        counted = tuple(decisions(signed.proposal, found.values()).values())
        write_durably(output, Dossier(proposal=signed, approvals=counted).model_dump_json(indent=1).encode())
    if as_json:
        typer.echo(standing.model_dump_json(indent=1))
    else:
        _show(standing)
    if standing.reasons_not_to_launch:
        raise typer.Exit(NotApprovedError.exit_code)


def _show(standing: Standing) -> None:
    _say(f"{standing.study}, version {standing.version}: {standing.proposal}", style="bold")
    table = Table("site", "decision", "by", "at", "note", box=None, padding=(0, 2, 0, 0))
    for site in standing.sites:
        style = {"approve": "green", "missing": "yellow"}.get(site.decision, "red")
        table.add_row(
            *map(Text, (site.site,)), Text(site.decision, style=style), *map(Text, (site.officer, site.time, site.note))
        )
    Console(highlight=False).print(table)
    for file, reason in standing.ignored.items():
        _say(f"{file} does not count: {reason}", style="red")
    if standing.reasons_not_to_launch:
        _say("may not be launched: " + "; ".join(standing.reasons_not_to_launch), style="yellow")
    else:
        _say("may be launched", style="green")


def _start(new: StudyManifest, old: StudyManifest, round_number: int | None, model: str | None) -> Json:
    from federation.governance.starting import StartingModel, check_start

    if round_number is None or model is None:
        raise InvalidInputError("expected --start-round and --start-model together, got one of them")
    start = StartingModel.from_data({"round_number": round_number, "model": model}, error=InvalidInputError)
    check_start(new, old, start)
    return start.as_data()


def _read(path: Path) -> SignedProposal:
    from conf.received_files import read_received
    from federation.governance.proposals import SignedProposal

    return read_received(path, SignedProposal)


def _write_signed(signed: SignedProposal, path: Path, *, as_json: bool) -> None:
    from federation.durable_files import write_durably

    content = signed.model_dump_json(indent=1).encode()
    if path.exists() and (path.is_dir() or path.read_bytes() != content):
        raise InvalidInputError(
            f"expected {path} to be new, it holds something else",
            remedy="a signed proposal is never overwritten: choose another --output",
        )
    write_durably(path, content)
    digest = signed.proposal.digest
    if as_json:
        typer.echo(json.dumps({"file": str(path), "proposal": digest, "manifest": signed.proposal.manifest.digest}))
    else:
        _say(f"{digest}  {path}")


def _say(text: str, *, style: str = "") -> None:
    Console(highlight=False, soft_wrap=True).print(Text(text, style=style))
