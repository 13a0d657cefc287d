"""``cohortium site signals``: recordings of wearables and monitors become a store that studies read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from site_client.signals.importing import ImportJob, SignalImport

signals_app = typer.Typer(help="Waveforms and wearables.", no_args_is_help=True, pretty_exceptions_enable=False)


@signals_app.callback()
def _signals() -> None:
    """Waveforms and wearables."""


@signals_app.command("import")
def import_recordings(
    *,
    plan: Annotated[Path, typer.Option("--plan", help="The agreed plan, YAML: channels, gaps, windows.")],
    mapping: Annotated[Path, typer.Option("--mapping", help="The site's own mapping of signals, YAML.")],
    store: Annotated[Path, typer.Option("--store", help="New folder for windows and table. It stays at the site.")],
    contract: Annotated[Path | None, typer.Option("--contract", help="Data contract, YAML or JSON.")] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Sealed study manifest: has the contract.")
    ] = None,
    skip_unusable: Annotated[
        bool, typer.Option("--skip-unusable", help="Leave recordings out that cannot be used, and count them.")
    ] = False,
    generated: Annotated[bool, typer.Option("--generated", help="The recordings are generated: of nobody.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")
    ] = False,
) -> None:
    """Cut the site's recordings (WFDB, EDF, CSV) into windows, by patient. Everything stays here.

    cohortium site signals import --manifest study.json --plan plan.yaml --mapping signals.yaml --store store
    """
    from site_client.agreed_files import agreement
    from site_client.signals.importing import ImportJob
    from site_client.signals.plan import read_plan, read_signal_mapping

    job = ImportJob(
        plan=read_plan(plan),
        mapping=read_signal_mapping(mapping),
        contract=agreement(contract, manifest)[0],
        folder=mapping.absolute().parent,
        store=store.absolute(),
        made_by="cohortium site signals import",
        generated=generated,
        skip_unusable=skip_unusable,
    )
    found = _with_progress(job, is_quiet=as_json)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        show_import(found, console=Console(highlight=False))


def _with_progress(job: ImportJob, *, is_quiet: bool) -> SignalImport:
    from site_client.signals.importing import import_signals

    with Progress(console=Console(stderr=True), disable=is_quiet, transient=True) as bar:
        task = bar.add_task("recordings", total=None)
        return import_signals(job, progress=lambda done, total: bar.update(task, completed=done, total=total))


def show_import(found: SignalImport, *, console: Console) -> None:
    """Print the attrition table of an import.

    Args:
        found: The report.
        console: Where to.
    """
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("step")
    table.add_column("windows", justify="right")
    table.add_column("patients", justify="right")
    for step in found.steps:
        table.add_row(step.what, str(step.windows), str(step.patients))
    console.print(table)
    used = found.recordings - found.recordings_not_used
    console.print(
        f"{used} of {found.recordings} recordings of {found.patients} patients; {found.implausible_samples} samples "
        f"outside the plausible range became gaps. The store is at {found.store}; it stays at this site."
    )
