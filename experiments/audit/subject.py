"""What is audited: one private study on records that nobody has to protect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from federation.errors import ConfigurationError, PrivacyRefusedError
from federation.privacy.accounting import spent
from federation.privacy.promise import PatientLevelPrivacy
from federation.privacy.randomness import RandomStreams
from federation.study.manifest import StudyManifest
from site_client.patients import SiteData

Report = Callable[[str], None]
"""Called with a few words whenever a part of the work begins."""


@dataclass(frozen=True)
class AuditSubject:
    """A study, its patients and the audit's own randomness.

    Args:
        manifest: What was promised. The mechanism is read from here, so what is attacked is what was promised.
        sites: Divided patients of the sites, in roster order.
        streams: Of the audit; never those of the study's own training.
        seeded: Whether the streams come from a known seed.
        confidence: Of every lower bound.
        report: Progress.

    Raises:
        PrivacyRefusedError: If the cohort is of real patients: an audit adds invented patients, knows who was a member,
            and trains more often than the ledger was charged for.
        ConfigurationError: If the study is not private.
    """

    manifest: StudyManifest
    sites: tuple[SiteData, ...] = field(repr=False)
    streams: RandomStreams = field(repr=False)
    seeded: bool
    confidence: float
    report: Report

    def __post_init__(self) -> None:
        provenance = self.manifest.cohort.provenance
        if provenance not in {"synthetic", "public"}:
            raise PrivacyRefusedError(
                f"expected a synthetic or public cohort for an audit, got provenance {provenance!r}",
                remedy="audit the same manifest on the contract's synthetic patients (study=synthetic)",
            )
        if not isinstance(self.manifest.privacy, PatientLevelPrivacy):
            raise ConfigurationError(
                f"expected a private study, got privacy {self.manifest.privacy.kind!r}: there is no promise to audit",
                remedy="choose privacy=patient_level",
            )

    @property
    def delta(self) -> float:
        """Of the promise."""
        return self._privacy.delta

    @property
    def spent_on_training(self) -> float:
        """The accountant's epsilon of all rounds of one site's training: what audits of training are compared with."""
        first = self.manifest.roster[0].site
        rounds = self.manifest.schedule.rounds
        return spent(self.manifest.mechanism(first), rounds_done=rounds, delta=self.delta).epsilon

    @property
    def _privacy(self) -> PatientLevelPrivacy:
        privacy = self.manifest.privacy
        if not isinstance(privacy, PatientLevelPrivacy):
            raise ConfigurationError("expected a private study")
        return privacy
