"""A small study of real agents, signed and approved, for a host of a test consortium."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from federation.governance.proposals import Approval, Proposal, SignedApproval, SignedProposal
from federation.protocol.signatures import SigningKey
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from tests.aggregator.host.consortium import Consortium
from tests.aggregator.host.fake_site import Handler, signing_handler
from tests.small_study import SITES, manifest_data, site_folders

LEAD = SigningKey.from_bytes(b"\x07" * 32)


def enrolled(consortium: Consortium):
    """The small study's sites as members."""
    return {name: consortium.issue(name, member=True) for name in SITES}


def study_of(sites, **changes) -> StudyManifest:
    """The small study with the sites' keys in its roster."""
    roster = [entry | {"public_key": sites[entry["site"]].identity.public_key} for entry in manifest_data()["roster"]]
    return StudyManifest.from_data(manifest_data(roster=roster, **changes))


def proposal_of(study: StudyManifest, *, coordinator: str, approvals_needed: int = 1, **terms) -> SignedProposal:
    """Signed by the lead."""
    proposal = Proposal.from_data(
        {
            "manifest": study.as_data(),
            "lead": LEAD.public_key,
            "coordinator": coordinator,
            "approvals_needed": approvals_needed,
            **terms,
        }
    )
    return SignedProposal.signed(proposal, LEAD)


def approval_of(proposal: SignedProposal, site, *, decision: str = "approve", number: int = 1) -> SignedApproval:
    """A site's decision, signed with its own key."""
    approval = Approval(
        proposal=proposal.proposal.digest,
        site=site.name,
        decision=decision,
        officer="Dr. Test",
        time=dt.datetime.now(tz=dt.UTC),
        number=number,
    )
    return SignedApproval.signed(approval, site.identity)


def written(folder: Path, proposal: SignedProposal, approvals) -> tuple[Path, list[Path]]:
    """As files that travelled."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "proposal.json").write_text(proposal.model_dump_json())
    paths = []
    for approval in approvals:
        path = folder / f"{approval.approval.site}-{approval.approval.number}.json"
        path.write_text(approval.model_dump_json())
        paths.append(path)
    return folder / "proposal.json", paths


def handlers(folder: Path, study: StudyManifest, sites, *, coordinator: str) -> dict[str, Handler]:
    """Real agents that check who asks and sign what they answer."""
    return {
        name: signing_handler(SiteAgent(entry).handle, site=sites[name], study=study.digest, coordinator=coordinator)
        for name, entry in site_folders(folder, study).items()
    }
