"""A review on the terminal: one page that can be read aloud."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from site_client.review import Review


def show_review(review: Review, *, console: Console) -> None:
    """Print a review.

    Args:
        review: What to print; its texts are of other parties and are printed as they are, never as markup.
        console: Where to.
    """
    console.print(Text(f"Review of {review.study}, version {review.version}, for {review.site}", style="bold"))
    console.print(Text(f"proposal {review.proposal}"), soft_wrap=True)
    for section in review.sections:
        console.print()
        console.print(Text(section.title, style="bold"))
        for fact in section.facts:
            console.print(Text(f"  - {fact}"))
    _show_changes(review, console)
    _show_policy(review, console)
    if review.missing:
        console.print()
        console.print(Text("What is missing before it may run here", style="bold"))
        for reason in review.missing:
            console.print(Text(f"  - {reason}"))


def _show_changes(review: Review, console: Console) -> None:
    console.print()
    if review.compared_with is None:
        console.print(Text("This site has not approved an earlier version.", style="bold"))
        return
    console.print(Text(f"What changed since version {review.compared_with}, which this site approved", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 2))
    for heading in ("what", "before", "now"):
        table.add_column(heading, overflow="fold")
    for change in review.changes:
        table.add_row(Text(change.name), Text(change.before), Text(change.after))
    console.print(table if review.changes else Text("  nothing"))


def _show_policy(review: Review, console: Console) -> None:
    console.print()
    if not review.violations:
        console.print(Text("The policy of this site allows it.", style="bold green"))
        return
    console.print(Text("The policy of this site FORBIDS it:", style="bold red"))
    table = Table(box=None, padding=(0, 2, 0, 2))
    for heading in ("rule", "allowed", "wanted"):
        table.add_column(heading, overflow="fold")
    for violation in review.violations:
        table.add_row(Text(violation.rule), Text(violation.allowed), Text(violation.wanted))
    console.print(table)
