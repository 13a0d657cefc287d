"""``cohortium site ledger``: what is spent on a patient population, and whether its ledger holds."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import InvalidInputError, LedgerDamagedError

if TYPE_CHECKING:
    from site_client.ledger.ledger import Ledger
    from site_client.ledger.status import LedgerStatus
    from site_client.ledger.verification import VerificationReport

ledger_app = typer.Typer(
    help="The privacy ledger of a patient population. It stays here.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_Path = Annotated[Path, typer.Argument(metavar="LEDGER", help="The ledger file, such as cardiology.sqlite.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


@ledger_app.command()
def create(
    path: _Path,
    *,
    population: Annotated[str, typer.Option("--population", help="Short name of the patient population.")],
    site: Annotated[str, typer.Option("--site", help="Short name of this site.")],
    epsilon: Annotated[float, typer.Option("--epsilon", help="What all studies together may cost one patient.")],
    delta: Annotated[float, typer.Option("--delta", help="Of the cap, well below one in the number of patients.")],
    order: Annotated[float | None, typer.Option("--order", help="The only Rényi order that counts.")] = None,
) -> None:
    """Make the ledger of a patient population. Its cap never changes afterwards.

    cohortium site ledger create cardiology.sqlite --population cardiology --site st_mary --epsilon 8 --delta 1e-6
    """
    from site_client.ledger.ledger import Ledger
    from site_client.ledger.terms import LedgerTerms

    data = {"population": population, "site": site, "epsilon_cap": epsilon, "delta": delta, "order": order}
    terms = LedgerTerms.from_data(data, error=InvalidInputError)
    with Ledger.create(path, terms, clock=_clock) as ledger:
        _say(f"{path}: a ledger for {population} at {site}, epsilon at most {epsilon:g} at delta {delta:g}")
        _say(f"key of its heads: {ledger.public_key} (secret part: {path}.key; keep both files together)")


@ledger_app.command()
def show(path: _Path, *, as_json: _Json = False) -> None:
    """Show what is spent, by study and by release, and what is left.

    cohortium site ledger show cardiology.sqlite
    """
    with _open(path) as ledger:
        status = ledger.status()
    if as_json:
        typer.echo(status.model_dump_json(indent=1))
    else:
        _show(status)


@ledger_app.command()
def verify(path: _Path, *, as_json: _Json = False) -> None:
    """Check every entry, charge, signature and page; exit code 46 if the ledger is damaged.

    cohortium site ledger verify cardiology.sqlite
    """
    from site_client.ledger.verification import verify_ledger

    report = verify_ledger(path)
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        _show_verification(report)
    if not report.intact:
        raise typer.Exit(LedgerDamagedError.exit_code)


@ledger_app.command()
def head(path: _Path, *, as_json: _Json = False) -> None:
    """Print the signed head, for somebody outside this machine to keep.

    cohortium site ledger head cardiology.sqlite --json
    """
    with _open(path) as ledger:
        signed = ledger.head()
    if as_json:
        typer.echo(signed.model_dump_json(indent=1))
    else:
        _say(f"{signed.population}: {signed.sequence} entries, the last is {signed.entry_hash}")
        _say(f"signed by {signed.public_key}")


@ledger_app.command()
def export(path: _Path) -> None:
    """Print every entry with its hash, one JSON object per line.

    cohortium site ledger export cardiology.sqlite > cardiology.jsonl
    """
    with _open(path) as ledger:
        for row in ledger.entries():
            entry = {"sequence": row.sequence, "entry_hash": row.entry_hash.hex(), "entry": json.loads(row.body)}
            typer.echo(json.dumps(entry, sort_keys=True))


def _clock() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


def _open(path: Path) -> Ledger:
    from site_client.ledger.ledger import Ledger

    return Ledger.open(path, clock=_clock)


def _say(text: str, *, style: str = "") -> None:
    Console(highlight=False, soft_wrap=True).print(Text(text, style=style))


def _show(status: LedgerStatus) -> None:
    _say(f"Ledger of {status.population} at {status.site}: {status.entries} entries", style="bold")
    if status.locked is not None:
        _say(f"LOCKED: {status.locked}", style="bold red")
    _say(
        f"epsilon {status.epsilon_spent:.4g} of {status.epsilon_cap:g} is spent, {status.epsilon_remaining:.4g} is left"
        f" (delta {status.delta:g})"
    )
    _say(f"releases: {status.sent} sent, {status.computed} computed and not sent, {status.reserved} reserved only")
    if not status.studies:
        return
    studies = Table(box=None, padding=(0, 2, 0, 0))
    studies.add_column("study", overflow="fold")
    studies.add_column("releases", justify="right")
    studies.add_column("epsilon if alone", justify="right")
    for study in status.studies:
        studies.add_row(Text(study.study), str(study.releases), f"{study.epsilon_alone:.4g}")
    releases = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("entry", "study", "release", "state", "reserved at", "epsilon if alone"):
        releases.add_column(heading, overflow="fold", justify="right" if heading.startswith("e") else "left")
    for release in status.releases:
        cells = (release.study, release.release, release.state, release.reserved_at)
        releases.add_row(str(release.sequence), *map(Text, cells), f"{release.epsilon_alone:.4g}")
    console = Console(highlight=False)
    console.print(studies, "", releases, sep="\n")


def _show_verification(report: VerificationReport) -> None:
    counts = f"{report.entries} entries and {report.signatures} signed heads hold, epsilon {report.epsilon_spent:.4g} is spent"
    if report.intact:
        _say(f"{report.ledger}: {counts}", style="green")
    else:
        _say(f"{report.ledger}: DAMAGED", style="bold red")
        _say(f"{report.problem}")
        _say(f"before it, {counts}")
    _say(f"last entry that holds: {report.entry_hash}")
