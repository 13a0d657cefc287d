"""When a study may run: the lead's signature, the site's own approval, those of enough others, and nothing against it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document
from federation.errors import InvalidInputError, ManifestError, NotApprovedError, SignatureRefusedError
from federation.governance.proposals import Decision, Proposal, SignedApproval, SignedProposal


class Dossier(Document):
    """A proposal and the decisions about it, as one file or message. Everything in it is checked by whoever reads it."""

    format: Literal["cohortium/dossier/1"] = "cohortium/dossier/1"
    proposal: SignedProposal
    approvals: Annotated[tuple[SignedApproval, ...], Field(max_length=10_000)]


def decisions(proposal: Proposal, approvals: Iterable[SignedApproval]) -> dict[str, SignedApproval]:
    """The decision of each site that stands. What does not hold is passed over, so that nobody can spoil it with rubbish.

    Args:
        proposal: Checked.
        approvals: In any order, from anywhere.

    Returns:
        By site, in the order of the roster; sites without a decision are missing.
    """
    found: dict[str, SignedApproval] = {}
    for candidate in approvals:
        if reason_against(candidate, proposal) is not None:
            continue
        site = candidate.approval.site
        if site not in found or _rank(candidate) > _rank(found[site]):
            found[site] = candidate
    return {entry.site: found[entry.site] for entry in proposal.manifest.roster if entry.site in found}


def reason_against(candidate: SignedApproval, proposal: Proposal) -> str | None:
    """Why a decision does not count for a proposal; ``None`` if it does."""
    try:
        candidate.check(proposal)
    except (NotApprovedError, SignatureRefusedError) as refused:
        return refused.message
    return None


def _rank(candidate: SignedApproval) -> tuple[bool, int, bool]:
    approval = candidate.approval
    return (approval.decision == "withdraw", approval.number, approval.decision == "decline")


def reasons_not_to_run(
    signed: SignedProposal,
    approvals: Iterable[SignedApproval],
    *,
    site: str | None,
    now: dt.datetime,
    known: Iterable[SignedProposal] = (),
) -> tuple[str, ...]:
    """Everything that forbids a study to run now; empty if it may.

    Args:
        signed: The proposal.
        approvals: Decisions of the sites, checked here.
        site: The site that asks about itself; ``None``: whoever launches, for whom enough sites must have approved that
            each has its ``approvals_needed`` others and that a round can succeed.
        now: The time, with its time zone.
        known: Other proposals; an amendment among them, signed by the same lead, ends this one.

    Raises:
        InvalidInputError: If ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise InvalidInputError("expected a time with its time zone, got one without")
    reasons = list(reasons_against_proposal(signed, now=now, known=known))
    proposal = signed.proposal
    standing: dict[str, Decision] = {
        name: found.approval.decision for name, found in decisions(proposal, approvals).items()
    }
    approved = {name for name, decision in standing.items() if decision == "approve"}
    if site is None:
        reasons += _too_few_to_launch(proposal, len(approved))
    elif site not in {entry.site for entry in proposal.manifest.roster}:
        reasons.append(f"expected site {site} in the roster, it is not")
    else:
        if site not in approved:
            reasons.append(f"expected the approval of {site} itself, got {_worded(standing.get(site))}")
        others = len(approved - {site})
        if others < proposal.approvals_needed:
            reasons.append(f"expected approvals of {proposal.approvals_needed} other sites, got {others}")
    return tuple(reasons)


def reasons_against_proposal(
    signed: SignedProposal, *, now: dt.datetime, known: Iterable[SignedProposal] = ()
) -> tuple[str, ...]:
    """What speaks against a proposal whoever has approved it: signature, last day, amendments. Arguments as above."""
    try:
        signed.check()
    except SignatureRefusedError as refused:
        return (refused.message,)  # nothing else in it means anything
    return (*_ended(signed.proposal, now), *_superseded(signed.proposal, known))


def check_may_run(
    signed: SignedProposal,
    approvals: Iterable[SignedApproval],
    *,
    site: str | None,
    now: dt.datetime,
    known: Iterable[SignedProposal] = (),
) -> None:
    """Refuse a study that may not run; arguments as of :func:`reasons_not_to_run`.

    Raises:
        NotApprovedError: With every reason.
    """
    reasons = reasons_not_to_run(signed, approvals, site=site, now=now, known=known)
    if reasons:
        raise NotApprovedError(
            "; ".join(reasons),
            remedy="collect what is missing (`cohortium study approvals`); a changed study is a new version",
            reasons=reasons,
        )


def check_amendment(new: Proposal, old: Proposal) -> None:
    """Check that a proposal is the next version of another.

    Raises:
        ManifestError: If study, lead, version or digest do not fit.
    """
    expected = (old.manifest.study, old.lead, old.manifest.version + 1, old.digest)
    found = (new.manifest.study, new.lead, new.manifest.version, new.supersedes)
    for name, wanted, got in zip(("study", "lead", "version", "supersedes"), expected, found, strict=True):
        if wanted != got:
            raise ManifestError(
                f"{name}: expected {wanted} in an amendment of {old.manifest.study} version {old.manifest.version}, got {got}",
                remedy="an amendment has the study, the lead and the next version of what it replaces, and names its digest",
            )


def _ended(proposal: Proposal, now: dt.datetime) -> list[str]:
    last, today = proposal.last_day(), now.astimezone(dt.UTC).date()
    return [f"expected a day up to {last}, the study's last, got {today}"] if last is not None and today > last else []


def _superseded(proposal: Proposal, known: Iterable[SignedProposal]) -> list[str]:
    study, version = proposal.manifest.study, proposal.manifest.version
    for other in known:
        manifest = other.proposal.manifest
        is_later = other.proposal.supersedes == proposal.digest or manifest.version > version
        if manifest.study != study or other.proposal.lead != proposal.lead or not is_later:
            continue
        try:
            other.check()
        except SignatureRefusedError:
            continue
        return [
            f"expected the last version of {study}, got version {version}, which version {manifest.version} replaced"
        ]
    return []


def _too_few_to_launch(proposal: Proposal, approved: int) -> list[str]:
    manifest, masked = proposal.manifest, proposal.manifest.aggregation.masked
    threshold = 0 if masked is None else masked.threshold_of(len(manifest.roster))
    needed = max(proposal.approvals_needed + 1, manifest.aggregation.quorum, threshold)
    return [f"expected approvals of {needed} sites, got {approved}"] if approved < needed else []


def _worded(decision: Decision | None) -> str:
    match decision:
        case None:
            return "none"
        case "decline":
            return "a refusal"
        case "withdraw":
            return "a withdrawal"
        case "approve":
            return "one"
