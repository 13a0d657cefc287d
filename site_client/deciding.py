"""A site's decision about a proposal: what is checked before it is signed, and what is kept."""

from __future__ import annotations

import datetime as dt
import os
import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass

from federation.documents import Document
from federation.errors import BudgetExhaustedError, InvalidInputError, NotApprovedError, SignatureRefusedError
from federation.governance.approvals import check_amendment, reasons_against_proposal
from federation.governance.audit import AuditEvent, EventName
from federation.governance.audit_log import AuditLog
from federation.governance.proposals import Approval, Decision, SignedApproval, SignedProposal
from federation.protocol.signatures import SigningKey
from site_client.accepted_code import accept_if_first
from site_client.home_paths import SiteLayout
from site_client.ledger.key_file import read_key
from site_client.ledger_room import room_in_ledger
from site_client.policy import read_policy
from site_client.policy_check import check_policy
from site_client.site_home import SiteHome
from site_client.study_papers import StudyPapers

Clock = Callable[[], dt.datetime]

_EVENTS: dict[Decision, EventName] = {"approve": "approved", "decline": "declined", "withdraw": "withdrawn"}


@dataclass(frozen=True)
class Desk:
    """A site at which decisions are made.

    Args:
        layout: Its home folder.
        home: What its admission said.
        clock: The time, with its zone.
    """

    layout: SiteLayout
    home: SiteHome
    clock: Clock

    @classmethod
    def of(cls, layout: SiteLayout, *, clock: Clock) -> Desk:
        """The desk of an enrolled site.

        Raises:
            InvalidInputError: If it is not enrolled.
        """
        return cls(layout=layout, home=layout.read(), clock=clock)

    @property
    def papers(self) -> StudyPapers:
        """What was imported and decided so far."""
        return StudyPapers(self.layout)

    def approve(self, signed: SignedProposal, *, officer: str, note: str = "") -> SignedApproval:
        """Approve a proposal, if everything here allows it.

        Raises:
            SignatureRefusedError: If the lead's signature does not hold, or it names another key for this site.
            PolicyRefusedError: If the site's policy forbids it.
            NotApprovedError: If it has ended, was replaced, or this site withdrew from it.
            BudgetExhaustedError: If it does not fit into what remains in the ledger.
            CodeRefusedError: If the installed code is not what the site has accepted. The first approval accepts it.
        """
        self.check_addressed(signed)
        self._check_current(signed)
        proposal = signed.proposal
        check_policy(read_policy(self.layout.policy), proposal, self.home.site)
        room = room_in_ledger(self.layout.ledger, proposal.manifest, clock=self.clock)
        if room is not None and not room.admitted:
            raise BudgetExhaustedError(
                f"expected a study that fits into what remains of {room.population} (epsilon {room.epsilon_remaining:.4g}), "
                "got one that does not" + (": the ledger has locked itself" if room.locked else ""),
                remedy="ask the lead for a shorter study or one with more noise",
            )
        accept_if_first(self.layout, clock=self.clock, officer=officer)
        self._record("proposal_imported", signed, proposal)
        self.papers.keep_proposal(signed)
        return self._decide(signed, "approve", officer=officer, note=note)

    def decline(self, signed: SignedProposal, *, officer: str, reason: str) -> SignedApproval:
        """Decline a proposal, whatever it asks for.

        Raises:
            SignatureRefusedError: If the lead's signature does not hold.
            NotApprovedError: If this site approved it before: that is withdrawn instead.
        """
        signed.check()
        signed.proposal.manifest.entry(self.home.site)
        own = self.papers.own(signed.proposal.digest)
        if own is not None and own.approval.decision != "decline":
            raise NotApprovedError(
                f"expected a proposal that this site has not approved, got one with decision {own.approval.decision!r}",
                remedy="withdraw the approval instead: `cohortium site withdraw-approval`",
            )
        self.papers.keep_proposal(signed)
        return self._decide(signed, "decline", officer=officer, note=reason)

    def withdraw(self, digest: str, *, officer: str, reason: str) -> SignedApproval:
        """Withdraw an approval. Final: only a new version can be approved again.

        Raises:
            NotApprovedError: If this site has not approved such a proposal.
        """
        signed = self.papers.proposal(digest)
        own = self.papers.own(digest)
        if own is None or own.approval.decision != "approve":
            raise NotApprovedError(
                f"expected a proposal that this site approved, got {digest}, which it did not",
                remedy="nothing has to be withdrawn",
            )
        return self._decide(signed, "withdraw", officer=officer, note=reason)

    def check_addressed(self, signed: SignedProposal) -> None:
        """Check that a proposal is signed by its lead and is for this site and its coordinator.

        Raises:
            SignatureRefusedError: If not.
            ManifestError: If the roster does not name this site.
        """
        signed.check()
        proposal, key = signed.proposal, self._key().public_key
        if proposal.site_key(self.home.site) != key:
            raise SignatureRefusedError(
                f"expected the roster to name this site's own key ({key[:16]}…), got {proposal.site_key(self.home.site)[:16]}…",
                remedy="tell the lead: somebody else would answer in this site's place",
            )
        if proposal.coordinator != self.home.coordinator_key:
            raise SignatureRefusedError(
                f"expected the coordinator that this site was enrolled with ({self.home.coordinator_key[:16]}…), "
                f"got {proposal.coordinator[:16]}…",
                remedy="ask the consortium which coordinator is right; this site obeys no other",
            )

    def _check_current(self, signed: SignedProposal) -> None:
        proposal, papers = signed.proposal, self.papers
        own = papers.own(proposal.digest)
        if own is not None and own.approval.decision == "withdraw":
            raise NotApprovedError(
                "expected a proposal that this site has not withdrawn from, got one it has",
                remedy="a withdrawal is final: ask the lead for a new version",
            )
        for other in papers.proposals():
            manifest = other.proposal.manifest
            is_same_version = (manifest.study, manifest.version) == (proposal.manifest.study, proposal.manifest.version)
            if is_same_version and other.proposal.digest != proposal.digest and self._approved(other):
                raise NotApprovedError(
                    f"expected one version {manifest.version} of {manifest.study}, got a second one, with another content",
                    remedy="ask the lead to number it as a new version",
                )
            if other.proposal.digest == proposal.supersedes:
                check_amendment(proposal, other.proposal)
        reasons = reasons_against_proposal(signed, now=self.clock(), known=papers.proposals())
        if reasons:
            raise NotApprovedError("; ".join(reasons), remedy="ask the lead for a current version")

    def _approved(self, signed: SignedProposal) -> bool:
        own = self.papers.own(signed.proposal.digest)
        return own is not None and own.approval.decision == "approve"

    def _decide(self, signed: SignedProposal, decision: Decision, *, officer: str, note: str) -> SignedApproval:
        digest = signed.proposal.digest
        own = self.papers.own(digest)
        approval = Approval.from_data(
            {
                "proposal": digest,
                "site": self.home.site,
                "decision": decision,
                "officer": officer,
                "time": self.clock().isoformat(timespec="seconds"),
                "note": note,
                "number": 1 if own is None else own.approval.number + 1,
            },
            error=InvalidInputError,
        )
        made = SignedApproval.signed(approval, self._key())
        self._record(_EVENTS[decision], signed, made)  # what could not be recorded is not done
        self.papers.keep_own(made)
        return made

    def _record(self, event: EventName, signed: SignedProposal, document: Document) -> None:
        found = AuditEvent(
            event=event,
            actor=_account(),
            study=signed.proposal.digest,
            hashes={"document": document.digest.removeprefix("sha256:")},
        )
        with AuditLog(self.layout.audit, log=self.home.site, key=self._key(), clock=self.clock) as log:
            log.record(found)

    def _key(self) -> SigningKey:
        key = read_key(self.layout.identity_key.with_suffix(""))
        if key is None:
            raise InvalidInputError(
                f"expected this site's key at {self.layout.identity_key}, got none",
                remedy="enrol first, or restore the key",
            )
        return key


def _account() -> str:
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = ""
    return name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}", name) else f"uid{number}"
