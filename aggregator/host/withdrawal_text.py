"""What leaving a site out means, in words for the lead."""

from __future__ import annotations

from pathlib import Path

from aggregator.host.withdrawing import Withdrawal


def withdrawal_text(found: Withdrawal, *, draft: Path | None) -> str:
    """Several lines of plain text."""
    rounds = ", ".join(str(number) for number in found.rounds) or "none"
    lines = [f"{found.site} is left out from the next request on.", f"rounds with a contribution of it: {rounds}"]
    if found.models:
        lines.append("models that it influenced:")
        lines += [f"  round {number}: {digest}" for number, digest in found.models.items()]
        lines.append(
            f"last model without it: round {found.clean_round}" if found.clean_round else "no model is without it"
        )
        lines.append(
            "Its part in these models cannot be taken out of them: do not release them if it must not be there."
        )
    lines.append(
        "The study goes on without it, from its last checkpoint."
        if found.goes_on
        else "Too few sites remain: the study waits. Stop it, and propose a new version."
    )
    if draft is not None:
        lines.append(f"{draft}: the next version without the site. It trains from the beginning; sign and propose it.")
    elif found.obstacle:
        lines.append(f"A new version needs more than leaving it out: {found.obstacle}")
    else:
        lines.append("For a model without it, make the next version with --draft, then sign and propose it.")
    return "\n".join(lines)
