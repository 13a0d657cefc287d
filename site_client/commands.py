"""``cohortium site``: what a hospital's IT and data manager run."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import ConfigurationError, ManifestError
from site_client import process_commands
from site_client.ledger_commands import ledger_app
from site_client.site_home import HOME_VARIABLE, SiteLayout

if TYPE_CHECKING:
    from federation.data.cohort import CohortDefinition
    from federation.data.contract import DataContract
    from site_client.readiness import ReadinessReport

app = typer.Typer(help="Work at a hospital.", no_args_is_help=True, pretty_exceptions_enable=False)
data_app = typer.Typer(help="The site's own records.", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(data_app, name="data")
app.add_typer(ledger_app, name="ledger")
process_commands.register(app)

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
    as_json: _Json = False,
) -> None:
    """Check that this machine can take part: Python, packages, folder, processor; with --home also the way to the gate."""
    from site_client.machine_checks import MachineReport, check_machine

    layout = None if home is None else SiteLayout(home)
    report: MachineReport = check_machine(folder if layout is None else layout.folder)
    if layout is not None:
        from site_client.network_checks import check_network

        found = check_network(layout, proxy=proxy, now=dt.datetime.now(tz=dt.UTC))
        report = MachineReport(checks=(*report.checks, *found))
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
    from site_client.extraction import check as check_records
    from site_client.sources.mapping import read_mapping
    from site_client.sources.tables import TableSource

    agreed, definition = _agreement(contract, manifest)
    local = read_mapping(mapping)
    assessment = check_records(
        TableSource(local, folder=mapping.absolute().parent),
        site=site or local.site,
        contract=agreed,
        definition=definition,
        today=dt.datetime.now(tz=dt.UTC).astimezone().date(),
    )
    return assessment.report


def _agreement(contract: Path | None, manifest: Path | None) -> tuple[DataContract, CohortDefinition]:
    from federation.data.cohort import CohortDefinition
    from federation.data.contract import DataContract
    from federation.study.manifest import read_sealed

    if contract is not None and manifest is None:
        return DataContract.from_data(_read_yaml(contract)), CohortDefinition(provenance="patients")
    if manifest is not None and contract is None:
        study = read_sealed(_read(manifest))
        return study.contract, study.cohort
    raise ConfigurationError(
        "expected one of --contract and --manifest, got " + ("none" if contract is None else "both"),
        remedy="give --manifest for a study's whole cohort, or --contract to look at the variables alone",
    )


def _read_yaml(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(_read(path))
    except yaml.YAMLError as failure:
        raise ManifestError(
            f"expected a contract in YAML or JSON at {path}, got text that does not parse",
            remedy="check indentation, colons and quotes",
        ) from failure


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise ManifestError(
            f"expected a readable file in UTF-8 at {path}, got {type(failure).__name__}",
            remedy="check path, permissions and encoding",
        ) from failure


def _leave(report: ReadinessReport) -> None:
    """The exit code is that of the first problem's class; the report has already said what it is."""
    for problem in report.problems:
        raise typer.Exit(problem.as_error(site=report.site).exit_code)
