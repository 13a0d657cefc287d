"""``cohortium site review, approve, decline, withdraw-approval, approvals``; and ``policy``, mounted beside them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from federation.errors import InvalidInputError, NotApprovedError
from site_client.home_paths import DEFAULT_HOME, HOME_VARIABLE, SiteLayout
from site_client.policy_commands import policy_app

if TYPE_CHECKING:
    from federation.governance.proposals import SignedApproval, SignedProposal
    from site_client.deciding import Desk
    from site_client.review import Review

_Home = Annotated[Path, typer.Option("--home", envvar=HOME_VARIABLE, help="The site's home folder.")]
_File = Annotated[Path, typer.Argument(metavar="PROPOSAL", help="The signed proposal that the lead sent.")]
_Officer = Annotated[str, typer.Option("--officer", help="Who decides, as the site wants to be quoted.")]
_Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the decision for the lead.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


def register(app: typer.Typer) -> None:
    """Mount the commands on ``cohortium site``."""
    for name, command in (
        ("review", review),
        ("approve", approve),
        ("decline", decline),
        ("withdraw-approval", withdraw_approval),
        ("approvals", approvals),
    ):
        app.command(name)(command)
    app.add_typer(policy_app, name="policy")


def review(proposal: _File, *, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Show a proposal in plain words: what leaves, what it costs, what changed, what the policy says.

    cohortium site review proposal.json
    """
    from site_client.review_table import show_review

    desk, signed = _desk(home), _read(proposal)
    desk.check_addressed(signed)
    found = _review(desk, signed)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        show_review(found, console=Console(highlight=False))


def approve(
    proposal: _File,
    *,
    officer: _Officer,
    note: Annotated[str, typer.Option("--note", help="For the lead.")] = "",
    output: _Output = None,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Approve a proposal; refused if the site's policy forbids it (exit code 61).

    cohortium site approve proposal.json --officer "Dr A. Weiss"
    """
    desk = _desk(home)
    _hand_over(desk, desk.approve(_read(proposal), officer=officer, note=note), output=output, as_json=as_json)


def decline(
    proposal: _File,
    *,
    officer: _Officer,
    reason: Annotated[str, typer.Option("--reason", help="For the lead.")],
    output: _Output = None,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Decline a proposal. It can still be approved later.

    cohortium site decline proposal.json --officer "Dr A. Weiss" --reason "too many rounds"
    """
    desk = _desk(home)
    _hand_over(desk, desk.decline(_read(proposal), officer=officer, reason=reason), output=output, as_json=as_json)


def withdraw_approval(
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="Of the proposal, or the proposal file.")],
    *,
    officer: _Officer,
    reason: Annotated[str, typer.Option("--reason", help="For the lead.")] = "",
    output: _Output = None,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Withdraw an approval: nothing more is computed here for it. Final; only a new version can be approved.

    cohortium site withdraw-approval proposal.json --officer "Dr A. Weiss" --reason "consent was withdrawn"
    """
    desk = _desk(home)
    wanted = digest if digest.startswith("sha256:") else _read(Path(digest)).proposal.digest
    _hand_over(desk, desk.withdraw(wanted, officer=officer, reason=reason), output=output, as_json=as_json)


def approvals(
    dossier: Annotated[Path, typer.Argument(metavar="DOSSIER", help="Proposal and decisions, as the lead sent them.")],
    *,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Keep the decisions of other sites, and say whether the study may run here; exit code 62 if it may not.

    cohortium site approvals dossier.json
    """
    from conf.received_files import read_received
    from federation.governance.approvals import Dossier, decisions

    desk, received = _desk(home), read_received(dossier, Dossier)
    desk.check_addressed(received.proposal)
    site, proposal = desk.home.site, received.proposal.proposal
    desk.papers.keep_others(received, site=site)
    reasons = desk.papers.reasons_not_to_run(proposal.digest, site=site, now=desk.clock())
    standing = decisions(proposal, desk.papers.all(proposal.digest))
    found = {name: decision.approval.decision for name, decision in standing.items()}
    if as_json:
        typer.echo(json.dumps({"decisions": found, "reasons_not_to_run": reasons}, indent=1))
    else:
        for entry in proposal.manifest.roster:
            _say(f"{entry.site}: {found.get(entry.site, 'no decision')}")
        _say("; ".join(reasons) or "may run here", style="yellow" if reasons else "green")
    if reasons:
        raise typer.Exit(NotApprovedError.exit_code)


def _clock() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


def _desk(home: Path) -> Desk:
    from site_client.deciding import Desk

    return Desk.of(SiteLayout(home), clock=_clock)


def _read(path: Path) -> SignedProposal:
    from conf.received_files import read_received
    from federation.governance.proposals import SignedProposal

    return read_received(path, SignedProposal)


def _review(desk: Desk, signed: SignedProposal) -> Review:
    from federation.governance.approvals import reasons_not_to_run
    from site_client.ledger_room import room_in_ledger
    from site_client.policy import read_policy
    from site_client.review import review as make_review

    proposal, papers, site = signed.proposal, desk.papers, desk.home.site
    known = papers.all(proposal.digest)
    return make_review(
        signed,
        site=site,
        policy=read_policy(desk.layout.policy),
        room=room_in_ledger(desk.layout.ledger, proposal.manifest, clock=desk.clock),
        previous=papers.last_approved(proposal.manifest.study, other_than=proposal.digest),
        missing=reasons_not_to_run(signed, known, site=site, now=desk.clock(), known=papers.proposals()),
    )


def _hand_over(desk: Desk, decision: SignedApproval, *, output: Path | None, as_json: bool) -> None:
    from federation.durable_files import write_durably

    path = output or Path(f"{decision.approval.decision}-{desk.home.site}.json")
    if path.is_dir():
        raise InvalidInputError(f"expected a file name with --output, got the folder {path}")
    write_durably(path, decision.model_dump_json(indent=1).encode())
    if as_json:
        typer.echo(json.dumps({"file": str(path), "decision": decision.as_data()}, indent=1))
    else:
        _say(f"{decision.approval.decision}: {decision.approval.proposal}")
        _say(f"written  {path}: send it to the lead")


def _say(text: str, *, style: str = "") -> None:
    Console(highlight=False, soft_wrap=True).print(Text(text, style=style))
