"""The lead's side of a proposal: signing, amending, letters to the sites, and who has decided what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from aggregator.study_checks import check_study
from aggregator.study_template import FILL_IN
from conf.received_files import read_bounded
from federation.documents import Document, Json
from federation.durable_files import write_durably
from federation.errors import InvalidInputError, ManifestError
from federation.governance.approvals import check_amendment, decisions, reason_against, reasons_not_to_run
from federation.governance.fingerprints import spoken
from federation.governance.plain_text import plain
from federation.governance.proposals import Proposal, SignedApproval, SignedProposal
from federation.protocol.signatures import SigningKey
from federation.study.manifest import StudyManifest

_KEY_BYTES: Final = 32


def make_lead_key(path: Path) -> SigningKey:
    """Make the key of a lead: 32 secret bytes in a file that only its owner can read.

    Raises:
        InvalidInputError: If there is a file already.
    """
    if path.exists():
        raise InvalidInputError(
            f"expected no file at {path}, got one", remedy="a key is never overwritten: choose another name"
        )
    key = SigningKey.generate()
    write_durably(path, key.to_bytes(), secret=True)
    return key


def read_lead_key(path: Path) -> SigningKey:
    """The key of a lead.

    Raises:
        InvalidInputError: If the file is missing or is not a key.
    """
    content = read_bounded(path, largest=4096)
    if len(content) != _KEY_BYTES:
        raise InvalidInputError(
            f"expected a key of {_KEY_BYTES} bytes in {path}, got {len(content)} bytes",
            remedy="make one with `cohortium study lead-key`",
        )
    return SigningKey.from_bytes(content)


def sign_proposal(manifest: StudyManifest, key: SigningKey, **terms: Json) -> SignedProposal:
    """Propose a study.

    Args:
        manifest: Must pass ``cohortium study check`` and hold no placeholder.
        key: Of the lead.
        **terms: Other fields of :class:`~federation.governance.proposals.Proposal`.

    Raises:
        ManifestError: If manifest or terms are not fit to be signed.
        PrivacyRefusedError: If the noise does not keep the promise.
        TestModeRefusedError: If a seed is given for patients' records.
    """
    check_study(manifest)
    _check_complete(manifest, purpose=str(terms.get("purpose", "")))
    data: dict[str, Json] = {"manifest": manifest.as_data(), "lead": key.public_key, **terms}
    return SignedProposal.signed(Proposal.from_data(data), key)


def amend(manifest: StudyManifest, key: SigningKey, *, old: SignedProposal, **terms: Json) -> SignedProposal:
    """Propose the next version of a study.

    Args:
        manifest: With the next version number.
        key: Of the same lead.
        old: What is replaced. Coordinator, approvals needed and purpose are taken from it where ``terms`` do not say.
        **terms: As of :func:`sign_proposal`.

    Raises:
        SignatureRefusedError: If the old proposal's signature does not hold.
        ManifestError: If it is not the next version of the same study by the same lead; otherwise as :func:`sign_proposal`.
    """
    old.check()
    before = old.proposal
    kept: dict[str, Json] = {
        "coordinator": before.coordinator,
        "approvals_needed": before.approvals_needed,
        "purpose": before.purpose,
        "test_seed": before.test_seed,
        "supersedes": before.digest,
    }
    made = sign_proposal(manifest, key, **(kept | {name: term for name, term in terms.items() if term is not None}))
    check_amendment(made.proposal, before)
    return made


def _check_complete(manifest: StudyManifest, *, purpose: str) -> None:
    texts = {"title": manifest.title, "question": manifest.question, "legal_basis": manifest.legal_basis}
    for name, text in texts.items():
        if FILL_IN in text:
            raise ManifestError(f"{name}: expected a text, got {text!r}", remedy="write what the officers should read")
    if manifest.cohort.provenance == "patients" and not (manifest.legal_basis.strip() or purpose.strip()):
        raise ManifestError(
            "legal_basis: expected a legal basis or a purpose in a study on patients' records, got neither",
            remedy="write legal_basis in the manifest, or give --purpose",
        )


def letters(signed: SignedProposal, *, file: str) -> dict[str, str]:
    """What each site is to be told, by site.

    Args:
        signed: The proposal.
        file: Name of the proposal's file beside the letter.
    """
    proposal, manifest = signed.proposal, signed.proposal.manifest
    until = proposal.last_day()
    return {
        entry.site: f"""\
To {entry.site}: {plain(manifest.title)} ({manifest.study}, version {manifest.version})

{plain(manifest.question)}

Please review the proposal, and send the file that your decision makes back to us.

    cohortium site review {file}
    cohortium site approve {file} --officer "YOUR NAME"
    cohortium site decline {file} --officer "YOUR NAME" --reason "WHY"

Compare by telephone before you approve:
    the proposal:  {spoken(proposal.digest.removeprefix("sha256:"))}
    the lead:      {spoken(proposal.lead)}

It runs at your site only after your approval and those of {proposal.approvals_needed} other sites.
Last day: {until or "none"}.
"""
        for entry in manifest.roster
    }


class SiteStanding(Document):
    """What a site has decided."""

    site: str
    decision: str
    """``approve``, ``decline``, ``withdraw`` or ``missing``."""
    officer: str = ""
    time: str = ""
    note: str = ""


class Standing(Document):
    """How far a proposal is."""

    study: str
    version: int
    proposal: str
    sites: tuple[SiteStanding, ...]
    ignored: dict[str, str]
    """File to why it does not count."""
    reasons_not_to_launch: tuple[str, ...]


def standing_of(
    signed: SignedProposal,
    approvals: Mapping[str, SignedApproval],
    *,
    now: dt.datetime,
    known: Iterable[SignedProposal] = (),
) -> Standing:
    """Who has decided what, and whether the study may be launched.

    Args:
        signed: The proposal.
        approvals: By the name of their file.
        now: With time zone.
        known: Other proposals, amendments perhaps.
    """
    proposal = signed.proposal
    found = decisions(proposal, approvals.values())
    ignored = {name: reason_against(approval, proposal) for name, approval in approvals.items()}
    return Standing(
        study=proposal.manifest.study,
        version=proposal.manifest.version,
        proposal=proposal.digest,
        sites=tuple(_of_site(entry.site, found.get(entry.site)) for entry in proposal.manifest.roster),
        ignored={name: reason for name, reason in ignored.items() if reason is not None},
        reasons_not_to_launch=reasons_not_to_run(signed, approvals.values(), site=None, now=now, known=known),
    )


def _of_site(site: str, decision: SignedApproval | None) -> SiteStanding:
    if decision is None:
        return SiteStanding(site=site, decision="missing")
    approval = decision.approval
    return SiteStanding(
        site=site,
        decision=approval.decision,
        officer=plain(approval.officer),
        time=approval.time.isoformat(timespec="seconds"),
        note=plain(approval.note),
    )
