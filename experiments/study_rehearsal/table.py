"""A rehearsal's report on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.study_rehearsal.report import RehearsalReport, RehearsedRound

_STYLES = {"stops": "bold red", "warning": "yellow", "note": ""}


def show_rehearsal(report: RehearsalReport, *, console: Console) -> None:
    """Print the whole report."""
    console.print(Text(f"Rehearsal of {report.study}, version {report.version}", style="bold"))
    console.print(Text(report.notice))
    _list(console, "what would leave each site", report.leaves_each_site)
    _list(console, "what would be published", report.released)
    console.print(_rounds(report))
    console.print(_messages(report))
    console.print(_sites(report))
    console.print(Text(f"privacy: {report.privacy}"))
    if report.unplugged is not None:
        survived = report.unplugged.survived
        end = "the study survived it" if survived else "the study did not survive it"
        console.print(Text(f"{report.unplugged.text}; {end}", style="green" if survived else "bold red"))
    for finding in report.findings:
        console.print(Text(f"{finding.severity}: {finding.text}", style=_STYLES[finding.severity]))
        if finding.remedy:
            console.print(Text(f"  → {finding.remedy}"))
    end = f"finished in {report.seconds:.1f} s" if report.finished else f"stopped: {report.failure}"
    console.print(Text(end, style="green" if report.finished else "bold red"))


def _list(console: Console, title: str, lines: tuple[str, ...]) -> None:
    console.print(Text(f"{title}:"))
    for line in lines:
        console.print(Text(f"  {line}"))


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    return table


def _rounds(report: RehearsalReport) -> Table:
    table = _table("round", "sites", "seconds", "to sites", "from sites", "dropped out", "released")
    for done in report.rounds:
        table.add_row(
            str(done.round_number) if done.round_number else "before",
            str(len(done.contributors)) if done.round_number else "",
            f"{done.seconds:.2f}" if done.round_number else "",
            _bytes(done.to_sites_bytes),
            _bytes(done.from_sites_bytes),
            Text(", ".join(f"{site} ({reason})" for site, reason in done.dropouts.items())),
            Text(_metrics(done)),
        )
    return table


def _metrics(done: RehearsedRound) -> str:
    names = [name for name in ("auroc", "accuracy", "rmse") if name in done.released]
    return ", ".join(f"{name} {done.released[name]:.3f}" for name in names)


def _messages(report: RehearsalReport) -> Table:
    table = _table("message", "number", "request", "reply", "largest")
    for cost in report.messages:
        sizes = (cost.request_bytes, cost.reply_bytes, cost.largest_bytes)
        table.add_row(Text(cost.kind), str(cost.number), *map(_bytes, sizes))
    return table


def _sites(report: RehearsalReport) -> Table:
    table = _table("site", "declared patients", "rehearsed", "epsilon spent")
    for site, declared in report.declared_patients.items():
        epsilon = f"{report.epsilon[site]:.4g}" if site in report.epsilon else "no guarantee"
        table.add_row(Text(site), str(declared), str(report.rehearsed_patients.get(site, 0)), epsilon)
    return table


def _bytes(number: int) -> str:
    return f"{number} B" if number < 10_000 else f"{number / 1000:,.0f} kB"  # noqa: PLR2004 - four digits
