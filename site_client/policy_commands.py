"""``cohortium site policy``: write a strict policy, and hold it against a proposal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import ConfigurationError, PolicyRefusedError
from site_client.home_paths import DEFAULT_HOME, HOME_VARIABLE, SiteLayout

policy_app = typer.Typer(help="What this site allows.", no_args_is_help=True, pretty_exceptions_enable=False)

_Home = Annotated[Path, typer.Option("--home", envvar=HOME_VARIABLE, help="The site's home folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


@policy_app.command("init")
def policy_init(
    *,
    leads: Annotated[
        list[str] | None, typer.Option("--lead", help="Public key of a lead who may propose. Repeatable.")
    ] = None,
    home: _Home = DEFAULT_HOME,
) -> None:
    """Write a strict policy with comments into the site's home, to be adjusted. It never overwrites one.

    cohortium site policy init --lead 3b6a…
    """
    import yaml

    from federation.durable_files import write_durably
    from site_client.policy import SitePolicy, example_policy

    path, text = SiteLayout(home).policy, example_policy(tuple(leads or ()))
    SitePolicy.from_data(yaml.safe_load(text), error=ConfigurationError)  # a bad key is refused before it is written
    if path.exists():
        raise ConfigurationError(f"expected no policy at {path}, got one", remedy="edit that file")
    write_durably(path, text.encode(), secret=True)
    _say(f"written  {path}")


@policy_app.command("check")
def policy_check(
    proposal: Annotated[
        Path | None, typer.Argument(metavar="[PROPOSAL]", help="A proposal to hold against it.")
    ] = None,
    *,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Check the policy file, and a proposal against it; exit code 61 if it is forbidden.

    cohortium site policy check proposal.json
    """
    from conf.received_files import read_received
    from federation.governance.proposals import SignedProposal
    from site_client.policy import read_policy
    from site_client.policy_check import check

    layout = SiteLayout(home)
    policy = read_policy(layout.policy)
    signed = None if proposal is None else read_received(proposal, SignedProposal)
    if signed is not None:
        signed.check()
    violations = () if signed is None else check(policy, signed.proposal, layout.read().site)
    if as_json:
        data = {"policy": None if policy is None else policy.as_data(), "violations": [v.as_data() for v in violations]}
        typer.echo(json.dumps(data, indent=1))
    else:
        _say(f"{layout.policy}: {'no file, so nothing is allowed' if policy is None else 'valid'}")
        table = Table(box=None, padding=(0, 2, 0, 0))
        for violation in violations:
            table.add_row(Text(violation.rule), Text(violation.allowed), Text(violation.wanted))
        if violations:
            Console(highlight=False).print(table)
    if violations:
        raise typer.Exit(PolicyRefusedError.exit_code)


def _say(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(Text(text))
