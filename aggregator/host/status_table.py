"""A study's status as a table for people."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from aggregator.host.study_outcome import StudyOutcome
from aggregator.host.study_status import StudyStatus


def status_table(status: StudyStatus | None, outcome: StudyOutcome | None) -> Group:
    """One line per site, and what holds for the study as a whole."""
    if status is None:
        return Group(Text("launched; no coordinator has begun yet: does the host run? (`cohortium aggregator status`)"))
    lines = [
        Text(f"{status.study}, version {status.version}: {status.phase}", style="bold"),
        Text(f"{status.rounds_complete} of {status.rounds} rounds, as of {status.updated:%Y-%m-%d %H:%M:%S} UTC"),
    ]
    if status.last_error:
        lines.append(Text(f"last error: {status.last_error}", style="red"))
    if outcome is not None:
        lines.append(Text(f"{outcome.ending} at {outcome.ended:%Y-%m-%d %H:%M:%S} UTC {outcome.message}".rstrip()))
    if status.metrics:
        lines.append(Text("released: " + ", ".join(f"{name} {value:.4g}" for name, value in status.metrics.items())))
    return Group(*lines, _sites(status))


def _sites(status: StudyStatus) -> Table:
    table = Table("site", "now", "last answer", "epsilon spent", box=None, padding=(0, 2, 0, 0))
    for site in status.sites:
        answered = status.answered.get(site)
        epsilon = status.epsilon_spent.get(site)
        table.add_row(
            Text(site),
            Text(_now(status, site)),
            "" if answered is None else f"{answered:%H:%M:%S}",
            "" if epsilon is None else f"{epsilon:.4g}",
        )
    return table


def _now(status: StudyStatus, site: str) -> str:
    if site in status.withdrawn:
        return "withdrawn"
    if site in status.asked:
        return "asked"
    if site in status.missing:
        return f"missing: {status.missing[site]}"
    return "answered" if site in status.answered else "not asked yet"
