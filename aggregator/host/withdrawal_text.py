"""What leaving a site out means, and how a model without it comes about, in words for the lead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aggregator.host.withdrawing import Withdrawal


def withdrawal_text(found: Withdrawal, *, draft: Path | None, start: int = 0) -> str:
    """Several lines of plain text.

    Args:
        found: What the withdrawal means.
        draft: Where the next version was written; ``None``: it was not.
        start: The round after whose model the draft starts; 0: from the beginning.
    """
    return "\n".join((*_touched(found), *_going_on(found), *_again(found, draft, start)))


def _touched(found: Withdrawal) -> Iterator[str]:
    rounds = ", ".join(str(number) for number in found.rounds) or "none"
    yield f"{found.site} is left out from the next request on."
    yield f"rounds with a contribution of it: {rounds}"
    if not found.models:
        return
    yield "models that it influenced:"
    for number, digest in found.models.items():
        yield f"  round {number}: {digest}"
    yield f"last model without it: round {found.clean_round}" if found.clean_round else "no model is without it"
    yield "Its part in these models cannot be taken out of them: do not release them if it must not be there."


def _going_on(found: Withdrawal) -> Iterator[str]:
    if found.goes_on:
        yield "The study goes on without it, from its last checkpoint."
    else:
        yield "Too few sites remain: the study waits. Stop it, and propose a new version."


def _again(found: Withdrawal, draft: Path | None, start: int) -> Iterator[str]:
    if found.obstacle:
        yield f"A new version needs more than leaving it out: {found.obstacle}"
        return
    if not found.models and draft is None:
        yield "No model holds anything of it: nothing has to be trained again."
        return
    yield "A model without it is trained by the next version of the study, which every other site approves again. It can start"
    for number, digest in found.starts.items():
        yield f"  after round {number} (--from-round {number}), with {digest}: {found.site} had not contributed to it"
    why = f", since {found.reason_to_begin_anew}" if found.reason_to_begin_anew else ""
    yield f"  from the beginning (--from-round 0), with public initial parameters{why}"
    yield from _costs(found)
    if draft is None:
        yield "Write it with --draft FILE, then sign and propose it."
        return
    if start:
        how = f" --start-round {start} --start-model {found.starts[start]}"
        yield f"{draft}: the next version without the site. It starts after round {start} and runs the rounds that were left."
    else:
        how = ""
        yield f"{draft}: the next version without the site. It trains from the beginning."
    yield f"Sign it: cohortium study amend {draft} --supersedes PROPOSAL --key LEAD.key -o PROPOSAL-2{how}"


def _costs(found: Withdrawal) -> Iterator[str]:
    for number, by_site in found.costs.items():
        if by_site:
            where = f"after round {number}" if number else "from the beginning"
            yield f"Starting {where}, patients of the other sites pay again (epsilon: so far, by the new version, together):"
        for site, cost in by_site.items():
            yield f"  {site}: {cost.spent:.4g}, {cost.again:.4g}, {cost.together:.4g}"
    if any(found.costs.values()):
        yield "Whether that fits into a cap, each site's ledger decides; it may have counted more than arrived here."
