"""Whether a site's papers and policy allow a study now. Asked with every request; files are read again when they change.

Only what a clock decides is decided every time. The rest, signatures and rules, is the same as long as no file changes.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from federation.errors import CohortiumError, NotApprovedError, PolicyRefusedError
from federation.governance.proposals import Proposal
from site_client.home_paths import SiteLayout
from site_client.pausing import read_paused
from site_client.policy import SitePolicy, read_policy
from site_client.policy_check import check_policy
from site_client.site_home import SiteHome
from site_client.study_papers import StudyPapers

_Versions = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class _Verdict:
    """What holds until a file or the date changes."""

    versions: _Versions
    day: dt.date
    proposal: Proposal | None
    policy: SitePolicy | None
    refused: CohortiumError | None


class Permissions:
    """Decides.

    Args:
        layout: Of the site's home.
        home: What its admission said.
    """

    def __init__(self, layout: SiteLayout, home: SiteHome) -> None:
        self._layout, self._home, self._papers = layout, home, StudyPapers(layout)
        self._verdicts: dict[str, _Verdict] = {}

    def check(self, study: str, *, training: bool, now: dt.datetime) -> Proposal:
        """The approved proposal of a study that may run here now.

        Args:
            study: Digest of the manifest.
            training: Whether the request asks for training, which the policy limits to certain hours.
            now: The time, with its time zone.

        Raises:
            NotApprovedError: If it was not proposed or not approved by this site and enough others, or is over.
            PolicyRefusedError: If the policy forbids it, or forbids training at this hour, or the site has paused it.
            CohortiumError: If a file is damaged: what it says is not known, so nothing is allowed.
        """
        verdict = self._verdict(study, now)
        if verdict.refused is not None:
            raise verdict.refused
        if verdict.proposal is None or verdict.policy is None:
            raise NotApprovedError(f"expected a study that this site approved, got {study}")
        if read_paused(self._layout).holds(study):
            raise PolicyRefusedError(
                f"expected a study that runs, got {study}, which this site has paused",
                remedy="resume it with `cohortium site resume`",
                rules=["paused"],
            )
        if training and not verdict.policy.may_train_at(now.astimezone()):
            raise PolicyRefusedError(
                "expected a request to train within the hours of this site's policy, got one outside",
                remedy="wait, or change training_hours in the policy",
                rules=["training_hours"],
            )
        return verdict.proposal

    def _verdict(self, study: str, now: dt.datetime) -> _Verdict:
        versions, day = tuple(self._versions()), now.astimezone(dt.UTC).date()
        known = self._verdicts.get(study)
        if known is not None and (known.versions, known.day) == (versions, day):
            return known
        self._verdicts = {name: kept for name, kept in self._verdicts.items() if kept.versions == versions}
        try:
            proposal, policy = self._allowed(study, now)
            verdict = _Verdict(versions, day, proposal, policy, None)
        except CohortiumError as refused:
            return _Verdict(versions, day, None, None, refused)  # not kept: anybody's refusals must not fill the memory
        self._verdicts[study] = verdict
        return verdict

    def _allowed(self, study: str, now: dt.datetime) -> tuple[Proposal, SitePolicy | None]:
        signed = self._papers.of_manifest(study)
        if signed is None:
            raise NotApprovedError(
                f"expected a study that was proposed to this site, got {study}",
                remedy="review the lead's signed proposal (`cohortium site review`)",
            )
        proposal, site = signed.proposal, self._home.site
        reasons = self._papers.reasons_not_to_run(proposal.digest, site=site, now=now)
        if proposal.coordinator != self._home.coordinator_key:
            reasons = (*reasons, "expected the coordinator that this site enrolled with, got another")
        if reasons:
            raise NotApprovedError(
                "; ".join(reasons), remedy="`cohortium site review` lists what is missing", reasons=reasons
            )
        policy = read_policy(self._layout.policy)
        check_policy(policy, proposal, site)
        return proposal, policy

    def _versions(self) -> Iterator[tuple[str, int, int, int]]:
        """Every file that a verdict depends on, with what changes when it does."""
        yield from _version(self._layout.policy)
        for folder in (self._layout.proposals, self._layout.approvals):
            for place, folders, names in os.walk(folder):
                folders.sort()
                for name in sorted(names):
                    yield from _version(Path(place) / name)


def _version(path: Path) -> Iterator[tuple[str, int, int, int]]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    yield str(path), found.st_mtime_ns, found.st_size, found.st_ino
