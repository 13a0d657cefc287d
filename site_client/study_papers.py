"""What a site keeps about studies: the signed proposals it was sent, its own decisions, and those of other sites.

Files are what they were when they were checked, and are checked again whenever they count: a damaged one is an error, and
never a permission.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from conf.received_files import read_received
from federation.documents import Document
from federation.durable_files import write_durably
from federation.errors import NotApprovedError
from federation.governance.approvals import Dossier, decisions, reasons_not_to_run
from federation.governance.proposals import SignedApproval, SignedProposal
from site_client.accounts import give_back
from site_client.home_paths import SiteLayout

AnyDocument = TypeVar("AnyDocument", bound=Document)


class StudyPapers:
    """The folders ``proposals`` and ``approvals`` of a site's home.

    Every method raises ``InvalidInputError`` if a file is not what was written.

    Args:
        layout: The home.
    """

    def __init__(self, layout: SiteLayout) -> None:
        self._layout = layout

    def proposals(self) -> tuple[SignedProposal, ...]:
        """All that were imported; by study and version."""
        found = [read_received(path, SignedProposal) for path in _files(self._layout.proposals)]
        manifests = [(signed.proposal.manifest, signed) for signed in found]
        return tuple(signed for _, signed in sorted(manifests, key=lambda pair: (pair[0].study, pair[0].version)))

    def proposal(self, digest: str) -> SignedProposal:
        """An imported proposal.

        Args:
            digest: Of the proposal.

        Raises:
            NotApprovedError: If there is none.
        """
        path = self._layout.proposal(digest)
        if not path.is_file():
            raise NotApprovedError(
                f"expected a proposal with digest {digest} at this site, got none",
                remedy="review and approve the proposal file first",
            )
        return read_received(path, SignedProposal)

    def of_manifest(self, digest: str) -> SignedProposal | None:
        """The imported proposal with a manifest of that digest: the one that is approved here, if one of several is."""
        found = [signed for signed in self.proposals() if signed.proposal.manifest.digest == digest]
        approved = [signed for signed in found if self._is_approved(signed)]
        return next(iter((*approved, *found)), None)

    def own(self, digest: str) -> SignedApproval | None:
        """This site's last decision about a proposal."""
        return _read(self._layout.approval(digest), SignedApproval)

    def all(self, digest: str) -> tuple[SignedApproval, ...]:
        """This site's last decision about a proposal, and those of others."""
        own = self.own(digest)
        others = tuple(read_received(path, SignedApproval) for path in _files(self._others(digest)))
        return others if own is None else (own, *others)

    def keep_proposal(self, signed: SignedProposal) -> None:
        """Keep a proposal, whose signature must hold."""
        signed.check()
        self._write(self._layout.proposal(signed.proposal.digest), signed)

    def keep_own(self, decision: SignedApproval) -> None:
        """Keep this site's decision in place of the last one."""
        self._write(self._layout.approval(decision.approval.proposal), decision)

    def keep_others(self, dossier: Dossier, *, site: str) -> None:
        """Keep the decisions of other sites about an imported proposal; newer ones replace older ones, never the reverse.

        Args:
            dossier: From anywhere.
            site: This site, whose own decision is not taken from others.

        Raises:
            NotApprovedError: If the proposal is not here.
        """
        digest = dossier.proposal.proposal.digest
        proposal = self.proposal(digest).proposal
        for name, decision in decisions(proposal, (*self.all(digest), *dossier.approvals)).items():
            if name != site:
                self._write(self._others(digest) / f"{name}.json", decision)

    def reasons_not_to_run(self, digest: str, *, site: str, now: dt.datetime) -> tuple[str, ...]:
        """What forbids a study to run here now, as far as signatures, decisions and dates go; policy is another matter.

        Raises:
            NotApprovedError: If the proposal is not here.
        """
        return reasons_not_to_run(self.proposal(digest), self.all(digest), site=site, now=now, known=self.proposals())

    def last_approved(self, study: str, *, other_than: str) -> SignedProposal | None:
        """The highest version of a study that this site once approved, apart from one proposal."""
        for signed in reversed(self.proposals()):
            digest = signed.proposal.digest
            if signed.proposal.manifest.study != study or digest == other_than:
                continue
            own = self.own(digest)
            if own is not None and own.approval.decision != "decline":  # what was withdrawn had been approved
                return signed
        return None

    def _is_approved(self, signed: SignedProposal) -> bool:
        own = self.own(signed.proposal.digest)
        return own is not None and own.approval.decision == "approve"

    def _write(self, path: Path, document: Document) -> None:
        write_durably(path, document.model_dump_json(indent=1).encode(), secret=True)
        give_back(self._layout)

    def _others(self, digest: str) -> Path:
        return self._layout.approval(digest).with_suffix("")


def _files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else ()


def _read(path: Path, kind: type[AnyDocument]) -> AnyDocument | None:
    return read_received(path, kind) if path.exists() else None
