"""How a site is, as a person reads it in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from site_client.site_status import SiteStatus


def show_status(found: SiteStatus, *, console: Console) -> None:
    """Print it.

    Args:
        found: What is printed.
        console: Where to.
    """
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("site", f"{found.site} of {found.consortium}, gate {found.gate}")
    table.add_row("running", "no" if found.running is None else f"yes, process {found.running}")
    for process in found.processes:
        about = "not supervised here" if process.process is None else f"process {process.process}, user {process.user}"
        table.add_row(process.name, about)
    table.add_row("agent's socket", "answers" if found.agent_answers else "does not answer")
    if found.epsilon_spent is not None and found.epsilon_cap is not None:
        locked = f" — LOCKED: {found.ledger_locked}" if found.ledger_locked else ""
        table.add_row("epsilon", f"{found.epsilon_spent:.4g} of {found.epsilon_cap:g} spent{locked}")
    table.add_row("refused", f"{found.strangers} unsigned requests, {found.refused_runs} Flower runs")
    console.print(table)
    for study in found.studies:
        state = Text("may run", style="green") if study.may_run else Text(study.why_not, style="yellow")
        console.print(Text(f"\n{study.study} version {study.version}: ") + state)
        spent = "" if study.epsilon_spent is None else f", epsilon {study.epsilon_spent:.4g}"
        console.print(
            f"  {study.rounds_answered} rounds answered{spent}  {study.study_digest}", markup=False, soft_wrap=True
        )
        done = study.activity
        if done is not None:
            error = f", last error {done.last_error} at {done.last_error_time}" if done.last_error else ""
            console.print(f"  last request {done.kind} at {done.last_request}{error}", markup=False, soft_wrap=True)
