"""The data profile for a person at the site, on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from site_client.data_profile import DataProfile, VariableProfile


def show_profile(found: DataProfile, *, console: Console) -> None:
    """Print the whole profile. It stays at the site."""
    title = f"Profile of {found.site} for {found.contract}: {found.records} records of {found.patients} patients"
    console.print(Text(title, style="bold"))
    console.print(Text(found.notice, style="yellow"))
    console.print(_counts(found))
    console.print(_numbers(found))
    console.print(_levels(found))
    if found.dates is not None:
        span = f"{found.dates.first} to {found.dates.last}" if found.dates.first else "too few patients to say"
        console.print(Text(f"first records of nearly all patients: {span}"))
    duplicates = found.duplicates
    console.print(
        Text(
            f"patients with several records: {duplicates.repeated_patients}; records that repeat another: "
            f"{duplicates.exact_rows}; patients whose records differ: {duplicates.conflicting_patients}"
        )
    )
    for problem in found.problems:
        console.print(Text(f"problem: {problem}", style="red"))
    console.print(
        Text(
            f"Counts of fewer than {found.smallest} patients are hidden. A quantile is a mean over {found.smallest} patients, "
            "never a patient's own value."
        )
    )


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if not number else "right", overflow="fold")
    return table


def _counts(found: DataProfile) -> Table:
    table = _table("variable", "kind", "unit", "patients", "missing", "out of range", "unknown codes", "unreadable")
    for variable in found.variables:
        table.add_row(
            Text(variable.variable),
            variable.kind,
            Text(variable.unit),
            str(variable.patients),
            f"{variable.missing} ({variable.missing_fraction:.1%})",
            str(variable.out_of_range),
            str(variable.unknown_codes),
            str(variable.unreadable_values),
        )
    return table


def _numbers(found: DataProfile) -> Table:
    numbers = [variable for variable in found.variables if variable.quantiles]
    shares = [quantile.share for quantile in numbers[0].quantiles] if numbers else []
    table = _table("number", *(f"{share:.0%}" for share in shares))
    for variable in numbers:
        values = ("" if entry.value is None else f"{entry.value:g}" for entry in variable.quantiles)
        table.add_row(Text(variable.variable), *values)
    return table


def _levels(found: DataProfile) -> Table:
    table = _table("coded variable", "records by level")
    for variable in found.variables:
        if variable.levels:
            table.add_row(Text(variable.variable), Text(_spelt(variable)))
    return table


def _spelt(variable: VariableProfile) -> str:
    counts = (f"{entry.level}: {'hidden' if entry.records is None else entry.records}" for entry in variable.levels)
    return ", ".join(counts)
