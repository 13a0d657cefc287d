"""A small study put to three sites, for tests: its keys, its signed proposal, and decisions about it."""

from __future__ import annotations

import datetime as dt
import functools
from pathlib import Path
from typing import Any

from federation.durable_files import write_durably
from federation.governance.proposals import Approval, Decision, Proposal, SignedApproval, SignedProposal
from federation.protocol.signatures import SigningKey
from federation.study.manifest import StudyManifest
from site_client.home_paths import SiteLayout
from site_client.site_home import SiteHome
from tests.small_study import manifest_data, private

SITES = ("north", "south", "west")
NOW = dt.datetime(2031, 5, 1, 12, 0, tzinfo=dt.UTC)
MASKED = {"mode": "masked", "quorum": 3, "masked": {"value_range": 10.0, "norm_bound": 10.0}}


def key_of(name: str) -> SigningKey:
    """A key that is the same in every test: of a site, ``lead``, ``coordinator`` or anybody else."""
    return SigningKey.from_bytes(name.encode().ljust(32, b".")[:32])


LEAD, COORDINATOR = key_of("lead"), key_of("coordinator")


def roster(sites: tuple[str, ...] = SITES) -> list[dict[str, Any]]:
    return [
        {"site": site, "weight": 400.0, "training_patients": 400, "public_key": key_of(site).public_key}
        for site in sites
    ]


@functools.cache
def _privacy() -> dict[str, Any]:
    return private(epsilon=2.0, delta=1e-5)


def study_data(**changes: Any) -> dict[str, Any]:
    """A private, masked study of patients."""
    data = manifest_data(
        privacy=_privacy(),
        cohort={"provenance": "patients", "max_records_per_patient": 5},
        legal_basis="Ethics vote 12/31",
        aggregation=MASKED,
        roster=roster(),
    )
    return data | changes


def proposal(*, approvals_needed: int = 2, terms: dict[str, Any] | None = None, **changes: Any) -> Proposal:
    data = {
        "manifest": StudyManifest.from_data(study_data(**changes)).as_data(),
        "lead": LEAD.public_key,
        "coordinator": COORDINATOR.public_key,
        "approvals_needed": approvals_needed,
    }
    return Proposal.from_data(data | (terms or {}))


def signed(found: Proposal | None = None, **changes: Any) -> SignedProposal:
    return SignedProposal.signed(found or proposal(**changes), LEAD)


def decision(
    of: Proposal,
    site: str,
    decision: Decision = "approve",
    *,
    number: int = 1,
    key: SigningKey | None = None,
    **changes: Any,
) -> SignedApproval:
    data = {
        "proposal": of.digest,
        "site": site,
        "decision": decision,
        "officer": f"Officer of {site}",
        "time": NOW.isoformat(),
        "number": number,
    }
    return SignedApproval.signed(Approval.from_data(data | changes), key or key_of(site))


def enrolled(folder: Path, site: str = "north") -> SiteLayout:
    """A site's home as its admission leaves it, without certificates."""
    layout = SiteLayout(folder)
    home = {
        "consortium": "cardio",
        "site": site,
        "gate": "gate.example.org:8443",
        "coordinator_key": COORDINATOR.public_key,
        "authority_fingerprint": "ab" * 32,
    }
    layout.write(SiteHome.from_data(home))
    write_durably(layout.identity_key, key_of(site).to_bytes(), secret=True)
    return layout
