"""``cohortium site score``: a released model on the site's own patients."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import CohortiumError, InvalidInputError, NotApprovedError

if TYPE_CHECKING:
    from federation.governance.proposals import SignedProposal
    from federation.governance.releases import OpenedRelease
    from site_client.scoring import LocalPerformance, Whom

_LARGEST_PROPOSAL = 2**24
_WHOM: dict[str, Whom] = {"test": "test", "all": "all"}


def register(app: typer.Typer) -> None:
    """Add the command to ``cohortium site``."""
    app.command("score")(score)


def score(
    folder: Annotated[Path, typer.Argument(metavar="RELEASE", help="The release folder.")],
    *,
    mapping: Annotated[Path, typer.Option("--mapping", help="The site's mapping file, YAML.")],
    home: Annotated[
        Path | None, typer.Option("--home", envvar="COHORTIUM_SITE", help="The site's home folder.")
    ] = None,
    lead: Annotated[
        str | None, typer.Option("--lead", help="Public key of the study's lead, if it was not proposed here.")
    ] = None,
    proposal: Annotated[
        Path | None, typer.Option("--proposal", help="The signed proposal, if it was not imported here.")
    ] = None,
    patients: Annotated[
        str | None, typer.Option("--patients", help="'test' or 'all'. Otherwise by whether the site took part.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Also write a CSV with every record's score: it identifies patients."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")
    ] = False,
) -> None:
    """Check a release, score the site's own patients with it and print how well it does here. Nothing leaves the site.

    cohortium site score release --mapping mapping.yaml

    In an enrolled site's home, the audit log says that it was done.
    """
    from federation.durable_files import write_durably
    from site_client.home_paths import DEFAULT_HOME, SiteLayout
    from site_client.score_entry import scored
    from site_client.scoring import score_site, scores_csv
    from site_client.sources.mapping import read_mapping
    from site_client.sources.tables import TableSource

    if patients is not None and patients not in _WHOM:
        raise InvalidInputError(f"expected --patients test or all, got {patients!r}")
    if output is not None and output.exists():
        raise InvalidInputError(f"expected {output} to be new, it exists", remedy="choose another --output")
    with scored(SiteLayout(home or DEFAULT_HOME), folder):
        opened = _open(folder, home, lead=lead, proposal=proposal)
        local = read_mapping(mapping)
        found = score_site(
            opened.model,
            TableSource(local, folder=mapping.absolute().parent),
            site=local.site,
            whom=None if patients is None else _WHOM[patients],
            today=dt.datetime.now(tz=dt.UTC).astimezone().date(),
        )
    if output is not None:
        write_durably(output, scores_csv(found, opened.manifest).encode(), secret=True)
    if as_json:
        typer.echo(found.performance.model_dump_json(indent=1))
    else:
        _show(found.performance, output)


def _open(folder: Path, home: Path | None, *, lead: str | None, proposal: Path | None) -> OpenedRelease:
    from federation.governance.releases import for_proposal, open_release, read_release_record
    from site_client.home_paths import DEFAULT_HOME, SiteLayout

    if lead is not None and proposal is not None:
        raise InvalidInputError("expected one of --lead and --proposal, got both")
    if lead is not None:
        return open_release(folder, lead=lead)
    if proposal is not None:
        return for_proposal(folder, _read_proposal(proposal))
    digest = read_release_record(folder).release.manifest_digest
    imported = SiteLayout(home or DEFAULT_HOME).proposals
    for path in sorted(imported.glob("*.json")):
        try:
            found = _read_proposal(path)
        except CohortiumError:
            continue  # not of this study, or of a version that this one does not read
        if found.proposal.manifest.digest == digest:
            return for_proposal(folder, found)
    raise NotApprovedError(
        f"expected the proposal of the released study among those imported in {imported}, got none",
        remedy="name the lead's public key with --lead, or the signed proposal with --proposal: a release says by itself who "
        "signed it, so the key has to come from elsewhere",
    )


def _read_proposal(path: Path) -> SignedProposal:
    from federation.durable_files import read_whole
    from federation.governance.proposals import SignedProposal

    try:
        content = read_whole(path, largest=_LARGEST_PROPOSAL)
    except OSError as failure:
        raise InvalidInputError(
            f"expected a signed proposal at {path}, got: {failure.strerror}", remedy="check the path"
        ) from failure
    return SignedProposal.from_json(content, error=InvalidInputError)


def _show(found: LocalPerformance, output: Path | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    whom = "test patients" if found.patients_scored == "test" else "patients"
    console.print(Text(f"Model of study {found.study} on {found.patients} {whom} of {found.site}", style="bold"))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in found.metrics.items():
        table.add_row(Text(name), f"{value:.4f}")
    console.print(table)
    console.print(Text("exact figures on the site's own patients, without noise: they are for this site"))
    if output is not None:
        console.print(Text(f"{output} holds a score for every record and identifies patients: it stays here"))
