"""``cohortium site``: what a hospital's IT and data manager run."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import MappingError
from site_client import code_commands, process_commands
from site_client.home_paths import HOME_VARIABLE, SiteLayout
from site_client.images.commands import images_app
from site_client.ledger_commands import ledger_app
from site_client.signals.commands import signals_app

if TYPE_CHECKING:
    from site_client.readiness import ReadinessReport
    from site_client.sources.tables import TableSource

app = typer.Typer(help="Work at a hospital.", no_args_is_help=True, pretty_exceptions_enable=False)
data_app = typer.Typer(help="The site's own records.", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(data_app, name="data")
app.add_typer(images_app, name="images")
app.add_typer(ledger_app, name="ledger")
app.add_typer(signals_app, name="signals")
process_commands.register(app)
code_commands.register(app)

_Contract = Annotated[Path | None, typer.Option("--contract", help="Data contract, YAML or JSON.")]
_Manifest = Annotated[Path | None, typer.Option("--manifest", help="Sealed study manifest: contract and cohort.")]
_Mapping = Annotated[Path, typer.Option("--mapping", help="The site's mapping file, YAML.")]
_Site = Annotated[str | None, typer.Option("--site", help="The site it must be for. Otherwise the mapping's.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


@data_app.command()
def check(
    *,
    mapping: _Mapping,
    contract: _Contract = None,
    manifest: _Manifest = None,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """Check the site's records and print the readiness report. It stays here.

    cohortium site data check --manifest study.json --mapping mapping.yaml
    """
    from site_client.readiness_table import show_report

    report = _report(mapping, contract=contract, manifest=manifest, site=site)
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        show_report(report, console=Console(highlight=False))
    _leave(report)


@data_app.command()
def verdict(
    *,
    mapping: _Mapping,
    contract: _Contract = None,
    manifest: _Manifest = None,
    site: _Site = None,
    as_json: _Json = False,
) -> None:
    """Check the site's records and print pass or fail only: what may be told to the consortium.

    cohortium site data verdict --manifest study.json --mapping mapping.yaml
    """
    from site_client.readiness_table import show_verdict

    report = _report(mapping, contract=contract, manifest=manifest, site=site)
    if as_json:
        typer.echo(report.verdict().model_dump_json(indent=1))
    else:
        show_verdict(report.verdict(), console=Console(highlight=False))
    _leave(report)


@data_app.command("profile")
def show_data_profile(
    *,
    mapping: _Mapping,
    contract: _Contract = None,
    manifest: _Manifest = None,
    site: _Site = None,
    smallest: Annotated[
        int, typer.Option("--smallest", min=3, help="Counts of fewer patients than this are hidden.")
    ] = 5,
    as_json: _Json = False,
) -> None:
    """Show what the site's records look like, variable by variable, without any single record. It stays here.

    cohortium site data profile --manifest study.json --mapping mapping.yaml
    """
    from site_client.agreed_files import agreement
    from site_client.data_profile import profile
    from site_client.profile_table import show_profile
    from site_client.sources.source import survey

    agreed, _ = agreement(contract, manifest)
    source, name = _source(mapping, site=site)
    found = profile(survey(source, agreed, today=_today()), contract=agreed, smallest=smallest)
    if found.site != name:
        raise MappingError(
            f"expected the records of site {name!r}, got those of {found.site!r}",
            remedy="use the mapping of this site, or correct `site` in it",
        )
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        show_profile(found, console=Console(highlight=False))


@app.command()
def doctor(
    *,
    folder: Annotated[Path, typer.Option("--folder", help="Where the site's data and state are kept.")] = Path(),
    home: Annotated[
        Path | None,
        typer.Option("--home", envvar=HOME_VARIABLE, help="An enrolled site's home folder: looks at the network too."),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(
            "--proxy", envvar=["HTTPS_PROXY", "https_proxy"], help="HTTP proxy to the gate: http://host:port."
        ),
    ] = None,
    side: Annotated[
        Literal["agent", "gateway", "both"] | None,
        typer.Option("--side", help="With --home: whose checks. Otherwise found out: a container holds one side."),
    ] = None,
    site: Annotated[
        str | None, typer.Option("--site", envvar="COHORTIUM_SITE_NAME", help="At the gateway: name of this site.")
    ] = None,
    gate: Annotated[
        str | None, typer.Option("--gate", envvar="COHORTIUM_GATE", help="At the gateway: the gate, host:port.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Check that this machine can take part: Python, packages, folder, processor; with --home also the way to the gate.

    cohortium site doctor --home ~/.cohortium/site
    """
    from site_client.machine_checks import check_machine

    if home is None:
        report = check_machine(folder, side=side or "both")
    else:
        from site_client.doctor import check_site, detect_side

        layout = SiteLayout(home)
        now = dt.datetime.now(tz=dt.UTC)
        report = check_site(
            layout, side=side or detect_side(layout), site=site, gate=gate, proxy=proxy or None, now=now
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for found in report.checks:
            mark = Text("pass", style="green") if found.passed else Text("fail", style="bold red")
            table.add_row(mark, Text(found.name), Text(found.found), Text(found.remedy))
        Console(highlight=False).print(table)
    if not report.passed:
        raise typer.Exit(report.exit_code)


def _report(mapping: Path, *, contract: Path | None, manifest: Path | None, site: str | None) -> ReadinessReport:
    from site_client.agreed_files import agreement
    from site_client.extraction import check as check_records

    agreed, definition = agreement(contract, manifest)
    source, name = _source(mapping, site=site)
    return check_records(source, site=name, contract=agreed, definition=definition, today=_today()).report


def _source(mapping: Path, *, site: str | None) -> tuple[TableSource, str]:
    """The site's tables, and the site that they must be of."""
    from site_client.sources.mapping import read_mapping
    from site_client.sources.tables import TableSource

    local = read_mapping(mapping)
    return TableSource(local, folder=mapping.absolute().parent), site or local.site


def _today() -> dt.date:
    return dt.datetime.now(tz=dt.UTC).astimezone().date()


def _leave(report: ReadinessReport) -> None:
    """The exit code is that of the first problem's class; the report has already said what it is."""
    for problem in report.problems:
        raise typer.Exit(problem.as_error(site=report.site).exit_code)
