"""Which sites take part in a study at this moment, and why the others do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from aggregator.host.revocation import Membership
from aggregator.host.study_place import StudyPlace
from federation.governance.approvals import decisions
from federation.governance.proposals import Decision, Proposal

_SECONDS: Final = 1.0


class Participation:
    """Looked at again and again while a round waits for answers, so what it finds is believed for a second.

    Args:
        proposal: The study's.
        place: The study's folder.
        membership: Whom the authority admits.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        proposal: Proposal,
        place: StudyPlace,
        membership: Membership,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proposal = proposal
        self._place = place
        self._membership = membership
        self._clock = clock
        self._found: dict[str, str] = {}
        self._found_at = float("-inf")

    def gone(self) -> Mapping[str, str]:
        """Sites not to wait for, with a reason code: ``withdrawn``, ``not_approved``, ``revoked`` or ``not_a_member``."""
        if self._clock() - self._found_at >= _SECONDS:
            self._found = self._look()
            self._found_at = self._clock()
        return self._found

    def _look(self) -> dict[str, str]:
        standing = {
            site: signed.approval.decision
            for site, signed in decisions(self._proposal, self._place.decisions()).items()
        }
        withdrawn = set(self._place.withdrawn())
        lists = self._membership.current()
        revoked = frozenset[str]() if lists is None else lists.revoked_sites()
        found: dict[str, str] = {}
        for entry in self._proposal.manifest.roster:
            site = entry.site
            if site in withdrawn or standing.get(site) == "withdraw":
                found[site] = "withdrawn"
            elif standing.get(site) != "approve":
                found[site] = "not_approved"
            elif site in revoked:
                found[site] = "revoked"
            elif self._membership.member(site) is None:
                found[site] = "not_a_member"
        return found


def standing_decisions(proposal: Proposal, place: StudyPlace) -> dict[str, Decision]:
    """What each site has decided, as of its last word that lies here; sites without one are missing."""
    return {site: signed.approval.decision for site, signed in decisions(proposal, place.decisions()).items()}
