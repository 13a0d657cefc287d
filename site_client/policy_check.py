"""A proposal against a site's policy: every rule that it breaks."""

from __future__ import annotations

from collections.abc import Iterator

from federation.documents import Document
from federation.errors import PolicyRefusedError
from federation.governance.proposals import Proposal
from federation.privacy.promise import NoPrivacy, PatientLevelPrivacy, SiteLevelPrivacy
from federation.study.manifest import StudyManifest
from federation.study.patient_costs import statistics_promises, whole_epsilon
from site_client.policy import SitePolicy

_NOT_SET = "nothing: the policy does not say"


class Violation(Document):
    """One rule that a proposal breaks."""

    rule: str
    """The policy's key."""
    allowed: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.rule}: allowed {self.allowed}, wanted {self.wanted}"


def check(policy: SitePolicy | None, proposal: Proposal, site: str) -> tuple[Violation, ...]:
    """Every rule that a proposal breaks; empty if it may be approved.

    Args:
        policy: Of the site; ``None``: no policy, which allows nothing.
        proposal: Its signature is checked elsewhere.
        site: This site.

    Raises:
        ManifestError: If the site is not in the roster.
    """
    proposal.manifest.entry(site)
    if policy is None:
        return (Violation(rule="policy", allowed="nothing: this site has no policy", wanted="to run a study"),)
    manifest = proposal.manifest
    return (
        *_choices(policy, proposal),
        *_limits_of_size(policy, manifest, site),
        *_limits_of_privacy(policy, manifest),
        *_limits_of_company(policy, proposal, site),
    )


def check_policy(policy: SitePolicy | None, proposal: Proposal, site: str) -> None:
    """Refuse a proposal that breaks a rule; arguments as of :func:`check`.

    Raises:
        PolicyRefusedError: Naming every rule.
    """
    violations = check(policy, proposal, site)
    if violations:
        raise PolicyRefusedError(
            f"expected a study within the policy of {site}, got one beyond it: " + "; ".join(map(str, violations)),
            remedy="ask the lead for an amended study, or have the hospital change its policy",
            rules=[violation.rule for violation in violations],
        )


def _choices(policy: SitePolicy, proposal: Proposal) -> Iterator[Violation]:
    manifest = proposal.manifest
    yield from _one_of("allowed_leads", policy.allowed_leads, proposal.lead)
    yield from _one_of("allowed_provenance", policy.allowed_provenance, manifest.cohort.provenance)
    yield from _one_of("allowed_tasks", policy.allowed_tasks, manifest.task)
    yield from _one_of("allowed_models", policy.allowed_models, manifest.model.kind)
    yield from _one_of("allowed_aggregation", policy.allowed_aggregation, manifest.aggregation.mode)
    yield from _one_of("allowed_privacy", policy.allowed_privacy, manifest.privacy.kind)
    yield from _one_of("allowed_releases", policy.allowed_releases, manifest.evaluation.release)
    if isinstance(manifest.privacy, PatientLevelPrivacy):
        yield from _one_of("allowed_noise", policy.allowed_noise, manifest.privacy.noise)
    if manifest.preparation is not None and not policy.allow_preparation:
        yield Violation(rule="allow_preparation", allowed="no preparation", wanted="noisy counts before round 1")
    yield from _kinds_of_statistics(policy, manifest)
    if proposal.test_seed is not None and not policy.allow_test_seed:
        yield Violation(rule="allow_test_seed", allowed="no seed", wanted="repeatable noise")


def _kinds_of_statistics(policy: SitePolicy, manifest: StudyManifest) -> Iterator[Violation]:
    """Exact ones and ones with noise are allowed apart: neither permission is one for the other."""
    exact = () if manifest.statistics is None else manifest.statistics.exact
    if exact and not policy.allow_exact_statistics:
        yield Violation(rule="allow_exact_statistics", allowed="no exact statistics", wanted=f"{len(exact)} analyses")
    promises = statistics_promises(manifest)
    if promises and not policy.allow_private_statistics:
        wanted = f"{len(promises)} analyses with noise"
        yield Violation(rule="allow_private_statistics", allowed="no statistics with noise", wanted=wanted)
    if promises and not isinstance(manifest.privacy, PatientLevelPrivacy):
        yield from _one_of("allowed_noise", policy.allowed_noise, "distributed")


def _limits_of_size(policy: SitePolicy, manifest: StudyManifest, site: str) -> Iterator[Violation]:
    noise = manifest.evaluation.noise
    records = max(manifest.cohort.max_records_per_patient, 0 if noise is None else noise.max_records_per_patient)
    yield from _at_most("max_records_per_patient", policy.max_records_per_patient, records)
    declared = manifest.entry(site).training_patients
    yield from _at_least("min_training_patients", policy.min_training_patients, declared)
    yield from _at_most("max_rounds", policy.max_rounds, manifest.schedule.rounds)
    if manifest.statistics is not None:
        spec = manifest.statistics
        yield from _at_least("min_statistics_threshold", policy.min_statistics_threshold, spec.threshold)
        yield from _at_most("max_statistics_sums", policy.max_statistics_sums, spec.most_sums)


def _limits_of_privacy(policy: SitePolicy, manifest: StudyManifest) -> Iterator[Violation]:
    yield from _limits_of_training(policy, manifest)
    promises = statistics_promises(manifest)
    if promises:
        # Training and analyses are about the same patients: what they cost together has to fit.
        yield from _at_most("epsilon_cap_per_study", policy.epsilon_cap_per_study, whole_epsilon(manifest))
        yield from _at_most("max_delta", policy.max_delta, max(promise.delta for promise in promises))
        least = min(promise.noise_multiplier for promise in promises)
        yield from _at_least("min_noise_multiplier", policy.min_noise_multiplier, least)


def _limits_of_training(policy: SitePolicy, manifest: StudyManifest) -> Iterator[Violation]:
    match manifest.privacy:
        case NoPrivacy() | SiteLevelPrivacy():
            return  # nothing is promised to a patient; allowed_privacy decides about that
        case PatientLevelPrivacy() as privacy:
            yield from _at_most("epsilon_cap_per_study", policy.epsilon_cap_per_study, privacy.epsilon)
            yield from _at_most("max_delta", policy.max_delta, privacy.delta)
            yield from _at_least("min_noise_multiplier", policy.min_noise_multiplier, privacy.noise_multiplier)
            probability = privacy.sampling_probability
            yield from _at_most("max_sampling_probability", policy.max_sampling_probability, probability)


def _limits_of_company(policy: SitePolicy, proposal: Proposal, site: str) -> Iterator[Violation]:
    roster, masked = proposal.manifest.roster, proposal.manifest.aggregation.masked
    yield from _at_least("min_sites", policy.min_sites, len(roster))
    yield from _at_least("min_other_approvals", policy.min_other_approvals, proposal.approvals_needed)
    if masked is not None:
        fraction = masked.threshold_of(len(roster)) / len(roster)
        yield from _at_least("min_threshold_fraction", policy.min_threshold_fraction, fraction)
    others = [entry for entry in roster if entry.site != site]
    for entry in others:
        known = policy.known_sites.get(entry.site, entry.public_key)
        if known != entry.public_key:
            got = f"{entry.site} with key {str(entry.public_key)[:16]}…"
            yield Violation(rule="known_sites", allowed=f"key {str(known)[:16]}…", wanted=got)
    known = sum(policy.known_sites.get(entry.site) == entry.public_key for entry in others)
    yield from _at_least("min_known_sites", policy.min_known_sites, known)


def _one_of(rule: str, allowed: tuple[str, ...], wanted: str) -> Iterator[Violation]:
    if wanted not in allowed:
        yield Violation(rule=rule, allowed=", ".join(allowed) or "nothing", wanted=wanted)


def _at_most(rule: str, limit: float | None, wanted: float) -> Iterator[Violation]:
    if limit is None or not wanted <= limit:
        yield Violation(
            rule=rule, allowed=_NOT_SET if limit is None else f"at most {limit:.10g}", wanted=f"{wanted:.10g}"
        )


def _at_least(rule: str, limit: float | None, wanted: float) -> Iterator[Violation]:
    if limit is None or not wanted >= limit:
        yield Violation(
            rule=rule, allowed=_NOT_SET if limit is None else f"at least {limit:.10g}", wanted=f"{wanted:.10g}"
        )
