"""The readiness report for a person at the site, on a terminal."""

from __future__ import annotations

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from site_client.readiness import ReadinessReport, ReadinessVerdict


def show_report(report: ReadinessReport, *, console: Console) -> None:
    """Print the whole report. It stays at the site."""
    title = f"Readiness of {report.site} for {report.contract}: {report.records} records of {report.patients} patients"
    console.print(Text(title, style="bold"))
    console.print(Group(_variables(report), Padding(_attrition(report), (1, 0))))
    if report.passed:
        console.print(f"{report.training_patients} patients to train on, {report.test_patients} to test on.")
    for notice in report.notices:
        console.print(Text(f"note: {notice.text}", style="yellow"))
    for problem in report.problems:
        console.print(Text(f"problem: {problem.message}", style="red"))
        if problem.remedy:
            console.print(Text(f"  → {problem.remedy}"))
    console.print(_outcome(passed=report.passed))


def show_verdict(verdict: ReadinessVerdict, *, console: Console) -> None:
    """Print pass or fail by variable: all that may leave the site."""
    for name, passed in verdict.variables.items():
        console.print(Text(f"{name}: "), _outcome(passed=passed), sep="")
    console.print(Text(f"{verdict.site}: "), _outcome(passed=verdict.passed), sep="")


def _outcome(*, passed: bool) -> Text:
    return Text("pass", style="green") if passed else Text("fail", style="bold red")


def _variables(report: ReadinessReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("variable", overflow="fold")
    for heading in ("missing", "out of range", "unknown codes", "unreadable"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("")
    for variable in report.variables:
        table.add_row(
            Text(variable.variable),
            f"{variable.missing} ({variable.missing_fraction:.1%})",
            f"{variable.out_of_range} ({variable.out_of_range_fraction:.1%})",
            str(variable.unknown_codes),
            str(variable.unreadable_values),
            _outcome(passed=variable.passed),
        )
    return table


def _attrition(report: ReadinessReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("cohort step that left records out", overflow="fold")
    table.add_column("records left", justify="right")
    table.add_column("patients left", justify="right")
    last = len(report.attrition) - 1
    before = -1
    for number, step in enumerate(report.attrition):
        # Of dozens of steps, those that left records out are what a reader looks for.
        if number in {0, last} or step.records != before:
            table.add_row(Text(step.step), str(step.records), str(step.patients))
        before = step.records
    return table
