"""Proposals and approvals: what a study needs before a site computes anything for it.

The lead signs a proposal: the manifest, who coordinates, how many other sites must agree. Each site answers with a signed
approval, refusal or withdrawal of its own. Nothing here is secret, and nothing here is trusted before its signature was
checked. Whether a lead's key is one that a site accepts is the site's policy's to say. What a study needs before it runs is in
:mod:`federation.governance.approvals`.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from federation.documents import Document
from federation.errors import NotApprovedError, TestModeRefusedError
from federation.governance.signed import Signature, check_signature, sign_document
from federation.governance.starting import StartingModel
from federation.identifiers import SiteId
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.signatures import SigningKey
from federation.study.manifest import StudyManifest

PROPOSAL: Final = "proposal"
"""Purpose of the lead's signature."""
APPROVAL: Final = "approval"
"""Purpose of a site's signature."""

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Decision = Literal["approve", "decline", "withdraw"]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$", max_length=2000)]
"""Text of one line without control characters: it is shown on other parties' terminals."""


class Proposal(Document):
    """A study, put to the sites. Its digest is what they approve."""

    format: Literal["cohortium/proposal/1"] = "cohortium/proposal/1"
    manifest: StudyManifest
    lead: Hexadecimal
    """Public key of the person who answers for the study."""
    coordinator: Hexadecimal
    """Public key that signs the requests of this study."""
    approvals_needed: Annotated[int, Field(ge=0)]
    """Sites beside a site itself that must have approved before that site computes anything."""
    expires: dt.date | None = None
    """Last day on which the study may run, UTC; the manifest's own last day holds as well."""
    supersedes: Digest | None = None
    """Digest of the proposal that this one replaces: an amendment, with the next version of the same study."""
    start: StartingModel | None = None
    """Of an amendment: the model of the replaced version with which round 1 starts; ``None``: public initial parameters."""
    purpose: Line = ""
    """What the patients' records are used for and on which legal basis, for the officers who approve."""
    test_seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Makes a study on synthetic or public records repeatable, and its noise with it: worthless as protection."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.test_seed is not None and self.manifest.cohort.provenance == "patients":
            raise TestModeRefusedError(
                "test_seed: expected none in a proposal on patients' records, got a seed: its noise could be repeated",
                remedy="leave the seed out; it is for synthetic and public records",
            )
        others = len(self.manifest.roster) - 1
        if self.approvals_needed > others:
            message = f"approvals_needed: expected at most the {others} other sites, got {self.approvals_needed}"
            raise ValueError(message)
        without = [entry.site for entry in self.manifest.roster if entry.public_key is None]
        if without:
            message = f"manifest.roster: expected the public key of every site, got none of {without}"
            raise ValueError(message)
        keys = [self.lead, self.coordinator, *(str(entry.public_key) for entry in self.manifest.roster)]
        if len(set(keys)) < len(keys):
            message = (
                "manifest.roster: expected a key of its own for lead, coordinator and every site, got a shared one"
            )
            raise ValueError(message)
        if self.supersedes is not None and self.manifest.version == 1:
            message = "manifest.version: expected at least 2 in a proposal that supersedes another, got 1"
            raise ValueError(message)
        if self.start is not None and self.supersedes is None:
            message = "start: expected a starting model only in a proposal that supersedes another, got one without"
            raise ValueError(message)
        return self

    @model_serializer(mode="wrap")
    def _without_absent_start(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        """A proposal without a starting model has the bytes, and the digest, that it had before there was such a field."""
        data: dict[str, object] = handler(self)
        return {name: value for name, value in data.items() if name != "start" or value is not None}

    def last_day(self) -> dt.date | None:
        """The earlier of the two last days; ``None``: no end."""
        return min((day for day in (self.expires, self.manifest.expires) if day is not None), default=None)

    def site_key(self, site: str) -> str:
        """The key that signs the site's decisions.

        Raises:
            ManifestError: If the roster has no such site.
        """
        return str(self.manifest.entry(site).public_key)


class SignedProposal(Document):
    """With the lead's signature. Call :meth:`check` before anything in it is believed."""

    proposal: Proposal
    signature: Signature

    @classmethod
    def signed(cls, proposal: Proposal, key: SigningKey) -> Self:
        """Sign a proposal.

        Raises:
            SignatureRefusedError: If the key is not that of the lead whom the proposal names.
        """
        signed = cls(proposal=proposal, signature=sign_document(proposal, key, purpose=PROPOSAL))
        signed.check()
        return signed

    def check(self) -> None:
        """Check the lead's signature.

        Raises:
            SignatureRefusedError: If it is another's, or the proposal was changed.
        """
        lead = self.proposal.lead
        check_signature(self.proposal, self.signature, purpose=PROPOSAL, public_key=lead, signer="the study's lead")


class Approval(Document):
    """A site's decision about a proposal."""

    format: Literal["cohortium/approval/1"] = "cohortium/approval/1"
    proposal: Digest
    site: SiteId
    decision: Decision
    """``withdraw`` is final: only a new version can be approved again."""
    officer: Annotated[Line, Field(min_length=1)]
    """Who decided, as the site wants to be quoted."""
    time: AwareDatetime
    note: Line = ""
    number: Annotated[int, Field(ge=1, lt=2**31)] = 1
    """Of this site's decisions about the proposal; the highest counts, whatever a clock says."""


class SignedApproval(Document):
    """With the signature of the site's key in the proposal's roster."""

    approval: Approval
    signature: Signature

    @classmethod
    def signed(cls, approval: Approval, key: SigningKey) -> Self:
        """Sign a decision with the site's identity key."""
        return cls(approval=approval, signature=sign_document(approval, key, purpose=APPROVAL))

    def check(self, proposal: Proposal) -> None:
        """Check that this is a decision about the proposal, by the site that it names.

        Raises:
            NotApprovedError: If it is about another proposal, or of a site outside the roster.
            SignatureRefusedError: If it is signed by another, or was changed.
        """
        site = self.approval.site
        if self.approval.proposal != proposal.digest:
            raise NotApprovedError(
                f"expected a decision of {site} about {proposal.digest}, got one about {self.approval.proposal}",
                remedy="ask the site to decide about this version",
            )
        if site not in {entry.site for entry in proposal.manifest.roster}:
            raise NotApprovedError(f"expected a decision of a site of the roster, got one of {site!r}")
        key = proposal.site_key(site)
        check_signature(self.approval, self.signature, purpose=APPROVAL, public_key=key, signer=f"site {site}")
