"""``cohortium site images``: check image files for what identifies somebody, and import them for studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from site_client.images.imported import ImportReport
    from site_client.images.importing import Progress

images_app = typer.Typer(help="The site's images.", no_args_is_help=True, pretty_exceptions_enable=False)

_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the image files.", file_okay=False)]
_Missing = Annotated[
    Literal["refuse", "warn"],
    typer.Option(
        "--missing-burned-in-annotation",
        help="Where ultrasound, secondary captures and the like do not say whether text is burnt into their pixels.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


@images_app.command("check")
def check_images(folder: _Folder, *, missing: _Missing = "refuse", as_json: _Json = False) -> None:
    """Look at every file's header for what still identifies somebody; exit code 41 if there is anything.

    cohortium site images check exported/
    """
    import json

    from site_client.images.deidentification import Findings
    from site_client.images.importing import refuse_identifying
    from site_client.images.picture import Unreadable
    from site_client.images.reading import check_header, content_of

    findings, unreadable, files = Findings(), dict[str, int](), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files += 1
        content = content_of(path)
        bad = content if isinstance(content, Unreadable) else check_header(content, findings, missing=missing)
        if bad is not None:
            unreadable[bad.reason] = unreadable.get(bad.reason, 0) + 1
    if as_json:
        typer.echo(
            json.dumps(
                {"files": files, "stops": findings.stops, "warnings": findings.warnings, "unreadable": unreadable}
            )
        )
        raise typer.Exit(41 if findings.stops else 0)
    table = Table("", "", "files", box=None)
    for kind, style, counts in (
        ("identifies", "bold red", findings.stops),
        ("look at", "yellow", findings.warnings),
        ("unreadable", "yellow", unreadable),
    ):
        for name, count in sorted(counts.items()):
            table.add_row(Text(kind, style=style), Text(name), str(count))
    Console(highlight=False).print(table)
    refuse_identifying(findings)
    typer.echo(f"{files} files, nothing found that identifies somebody")


@images_app.command("import")
def import_(  # noqa: PLR0913 - the options of a command
    folder: _Folder,
    *,
    table: Annotated[
        Path, typer.Option("--table", help="CSV with a header: patient, outcome, covariates, file names.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Folder of the store to make. New or empty.")],
    contract: Annotated[Path | None, typer.Option("--contract", help="Data contract, YAML or JSON.")] = None,
    manifest: Annotated[Path | None, typer.Option("--manifest", help="Sealed study manifest.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="variable=column: where file names are, if not in a column of its name."),
    ] = None,
    delimiter: Annotated[str, typer.Option("--delimiter", help="Of the table.")] = ",",
    on_unreadable: Annotated[
        Literal["stop", "count"],
        typer.Option("--on-unreadable", help="Import nothing, or leave the record out of studies and count it."),
    ] = "stop",
    missing: _Missing = "refuse",
    as_json: _Json = False,
) -> None:
    """Check, decode and store the images of a table, so that studies can stream them. Everything stays here.

    cohortium site images import exported/ --table labels.csv --contract contract.yaml --to stores/chest
    """
    from site_client.agreed_files import agreement
    from site_client.images.imported import ImportChoice
    from site_client.images.importing import image_variables, import_images
    from site_client.images.labels import file_columns, read_labels

    agreed, _ = agreement(contract, manifest)
    labels = read_labels(table, delimiter=delimiter)
    columns = file_columns(labels, tuple(variable.name for variable in image_variables(agreed)), _given(column or []))
    with _bar(shown=not as_json) as progress:
        report = import_images(
            folder,
            table=labels,
            columns=columns,
            contract=agreed,
            store=to,
            choice=ImportChoice(on_unreadable=on_unreadable, missing_burned_in=missing),
            progress=progress,
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        _show(report)


def _given(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if not all(name and equals and column for name, equals, column in split):
        raise InvalidInputError(
            f"expected --column variable=column, got {pairs}", remedy="such as --column scan=FileName"
        )
    return {name: column for name, _, column in split}


class _bar:  # noqa: N801 - used as a function
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, *, shown: bool) -> None:
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        self._bar = Bar(console=console, transient=True, disable=not (shown and console.is_terminal))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Progress:
        self._bar.start()
        return self._step

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _step(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done)


def _show(report: ImportReport) -> None:
    table = Table(title=f"{report.records} records in {report.store}", title_justify="left", box=None)
    for title in ("array", "imported", "missing", "unreadable", "implausible", "what was done"):
        table.add_column(title)
    for array in report.arrays:
        bad = ", ".join(f"{count}: {reason}" for reason, count in array.unreadable.items())
        cells = (array.name, str(array.imported), str(array.missing), bad or "0", str(array.implausible))
        table.add_row(*map(Text, cells), Text("; ".join(array.done)))
    console = Console(highlight=False)
    console.print(table)
    for name, count in sorted(report.warnings.items()):
        console.print(Text(f"look at: {name} in {count} files", style="yellow"))
    console.print(f"use it in a mapping: source: {{kind: store, path: {report.store}}}", markup=False)
