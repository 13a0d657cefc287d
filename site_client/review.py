"""A proposal in plain words, for the person who decides about it: what it does, what it costs, what changed, what forbids it.

Made from public documents and the site's own policy and ledger; no record is read.
"""

from __future__ import annotations

from federation.documents import Document
from federation.governance.changes import Change, changes
from federation.governance.fingerprints import spoken
from federation.governance.plain_text import plain
from federation.governance.proposals import Proposal, SignedProposal
from federation.privacy.accounting import epsilon_of_cost
from federation.privacy.promise import NoPrivacy, PatientLevelPrivacy, SiteLevelPrivacy
from federation.study.manifest import StudyManifest
from federation.study.patient_costs import smallest_delta, statistics_promises, whole_epsilon
from site_client.ledger_room import LedgerRoom
from site_client.plain_words import cohort_in_words, model_in_words, outcome_in_words, task_in_words, variable_in_words
from site_client.policy import SitePolicy
from site_client.policy_check import Violation, check
from site_client.what_leaves import what_leaves, what_stays


class Section(Document):
    """A heading and its facts, each one line of plain text."""

    title: str
    facts: tuple[str, ...]


class Review(Document):
    """Everything an officer needs to see."""

    study: str
    version: int
    site: str
    proposal: str
    """Digest of the proposal: what an approval signs."""
    sections: tuple[Section, ...]
    compared_with: int | None
    """The version that this site approved last, if it did."""
    changes: tuple[Change, ...]
    violations: tuple[Violation, ...]
    """Rules of the site's policy that the study breaks. With one of them it cannot be approved."""
    missing: tuple[str, ...]
    """What else must happen before the study may run here."""


def review(
    signed: SignedProposal,
    *,
    site: str,
    policy: SitePolicy | None,
    room: LedgerRoom | None,
    previous: SignedProposal | None,
    missing: tuple[str, ...],
) -> Review:
    """Make the review.

    Args:
        signed: The proposal; its signature is checked.
        site: This site.
        policy: Its policy, if it has one.
        room: What its ledger says, if it has one.
        previous: The version that it approved last.
        missing: What forbids the study to run here now, from :mod:`federation.governance.approvals`.

    Raises:
        SignatureRefusedError: If the lead's signature does not hold.
        ManifestError: If the site is not in the roster.
    """
    signed.check()
    proposal = signed.proposal
    manifest = proposal.manifest
    return Review(
        study=manifest.study,
        version=manifest.version,
        site=site,
        proposal=proposal.digest,
        sections=(
            Section(title="What it is for", facts=_purpose(proposal)),
            Section(title="Who takes part", facts=_company(proposal, site)),
            Section(title="Whose records", facts=tuple(cohort_in_words(manifest.cohort, manifest.contract))),
            Section(title="Which variables", facts=_variables(proposal)),
            Section(title="What is computed", facts=_computation(proposal)),
            Section(title="What leaves this hospital", facts=tuple(what_leaves(manifest))),
            Section(title="What never leaves", facts=tuple(what_stays())),
            Section(title="What it costs a patient", facts=_privacy(proposal, room)),
        ),
        compared_with=None if previous is None else previous.proposal.manifest.version,
        changes=() if previous is None else changes(previous.proposal, proposal),
        violations=check(policy, proposal, site),
        missing=missing,
    )


def _purpose(proposal: Proposal) -> tuple[str, ...]:
    manifest = proposal.manifest
    return (
        f"study {manifest.study}, version {manifest.version}: {plain(manifest.title)}",
        f"question: {plain(manifest.question)}",
        f"purpose: {plain(proposal.purpose) or 'the lead does not say'}",
        f"legal basis: {plain(manifest.legal_basis) or 'the lead does not say'}",
        f"may run until: {proposal.last_day() or 'there is no last day'}",
    )


def _company(proposal: Proposal, site: str) -> tuple[str, ...]:
    return (
        f"lead: key {spoken(proposal.lead)}",
        f"coordinator: key {spoken(proposal.coordinator)}",
        *(
            f"{entry.site}{' (this site)' if entry.site == site else ''}: {entry.training_patients} declared training patients, "
            f"key {spoken(str(entry.public_key))}"
            for entry in proposal.manifest.roster
        ),
        f"runs only after this site and {proposal.approvals_needed} others approved it",
    )


def _variables(proposal: Proposal) -> tuple[str, ...]:
    contract = proposal.manifest.contract
    outcome = f"to be predicted: {outcome_in_words(contract.outcome)}"
    key = f"{contract.patient_key} keeps the records of a patient together; it is used here and never leaves"
    return (*map(variable_in_words, contract.variables), outcome, key)


def _computation(proposal: Proposal) -> tuple[str, ...]:
    manifest = proposal.manifest
    facts = [
        f"{model_in_words(manifest.model)}, which predicts {task_in_words(manifest.task)}",
        f"{manifest.schedule.rounds} rounds of {manifest.schedule.local_steps} training steps at every hospital",
        "no code is sent: only the program that is installed here runs",
    ]
    if manifest.schedule.augmentation.is_on:
        facts.append(
            "images are mirrored, moved or made brighter at random while they are trained on; the stored ones stay"
        )
    if proposal.start is not None:
        facts.append(
            f"round 1 starts with the model of the replaced version after its round {proposal.start.round_number} "
            f"({proposal.start.model}), not with public initial parameters"
        )
    if manifest.preprocessing == "site_standardised":
        facts.append("mean and spread of each variable at this hospital are used, without protection")
    if proposal.test_seed is not None:
        facts.append("A TEST: its noise can be repeated by whoever reads this, so it protects nobody")
    return tuple(facts)


def _privacy(proposal: Proposal, room: LedgerRoom | None) -> tuple[str, ...]:
    manifest = proposal.manifest
    promises = statistics_promises(manifest)
    if not promises:
        return _privacy_of_training(manifest, room)
    is_told = isinstance(manifest.privacy, PatientLevelPrivacy)
    together = (
        f"statistics with noise: {len(promises)} analyses; with everything else that the study promises, epsilon "
        f"{whole_epsilon(manifest):.4g} with delta {smallest_delta(manifest):.1g} of every patient"
    )
    training = tuple(f"training: {fact}" for fact in _privacy_of_training(manifest, room))
    return (*training, together, *(() if is_told else _room(room)))


def _privacy_of_training(manifest: StudyManifest, room: LedgerRoom | None) -> tuple[str, ...]:
    match manifest.privacy:
        case NoPrivacy():
            return ("NO GUARANTEE: what is sent may reveal single patients",)
        case SiteLevelPrivacy() as privacy:
            return (
                f"no patient is promised anything; whether this hospital took part at all is hidden: {privacy.target}",
            )
        case PatientLevelPrivacy() as privacy:
            spent = epsilon_of_cost(manifest.privacy_cost(), delta=privacy.delta)
            meaning = "a factor of at most e^epsilon between what is seen with a patient and what is seen without"
            return (
                f"promise: {privacy.target}",
                f"the whole study spends epsilon {spent:.4g} of every patient ({meaning})",
                *_room(room),
            )


def _room(room: LedgerRoom | None) -> tuple[str, ...]:
    if room is None:
        return ("this site has no ledger yet: without one nothing private can be trained here",)
    spent = f"epsilon {room.epsilon_spent:.4g} of {room.epsilon_cap:g} is spent"
    facts = [f"ledger of {room.population}: {spent}, {room.epsilon_remaining:.4g} remains (delta {room.delta:g})"]
    if room.locked:
        facts.append("the ledger has LOCKED itself: nothing more is charged to it")
    elif room.admitted:
        facts.append(f"after the whole study, epsilon {room.epsilon_after:.4g} of {room.epsilon_cap:g} is spent")
    else:
        facts.append("the whole study DOES NOT FIT into what remains")
    return tuple(facts)
