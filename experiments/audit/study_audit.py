"""All chosen audits of one study."""

from __future__ import annotations

from typing import assert_never

from experiments.audit.counts import audit_counts, audit_preparation
from experiments.audit.mechanism import audit_mechanism
from experiments.audit.membership import audit_membership
from experiments.audit.one_run import audit_one_run
from experiments.audit.subject import AuditSubject
from experiments.audit_choice import AuditChoice
from federation.errors import ConfigurationError
from federation.models.parameters import Vector
from federation.privacy.audit_result import AuditKind, AuditResult, StudyAudit


def audit_study(subject: AuditSubject, choice: AuditChoice, *, released: Vector | None = None) -> StudyAudit:
    """Run the chosen audits, the quickest first.

    Args:
        subject: The study.
        choice: Which audits, and how large.
        released: ``[D]`` the study's released parameters, if it has been trained; otherwise the membership audit
            trains it.

    Raises:
        ConfigurationError: If no audit is chosen, or the study is of images or signals.
    """
    if not choice.kinds:
        raise ConfigurationError("expected at least one audit, got kind 'none'", remedy="choose audit.kind=all")
    if subject.manifest.contract.arrays:
        raise ConfigurationError(
            "expected a study of tabular records to audit, got one of images or signals",
            remedy="choose audit.kind=none: the audits plant patients with tabular features",
        )
    return StudyAudit(
        manifest_digest=subject.manifest.digest,
        results=tuple(result for kind in choice.kinds for result in _audit(kind, subject, choice, released)),
    )


def _audit(
    kind: AuditKind, subject: AuditSubject, choice: AuditChoice, released: Vector | None
) -> tuple[AuditResult, ...]:
    match kind:
        case "mechanism":
            subject.report("audit of the mechanism")
            return _audit_releases(subject, choice)
        case "one_run":
            return (audit_one_run(subject, num_canaries=choice.canaries),)
        case "membership":
            return (audit_membership(subject, num_shadow_models=choice.shadow_models, released=released),)
        case _:
            assert_never(kind)


def _audit_releases(subject: AuditSubject, choice: AuditChoice) -> tuple[AuditResult, ...]:
    """One training step, and one evaluation and preparation if the study pays for them."""
    manifest = subject.manifest
    training = audit_mechanism(
        manifest.mechanism(subject.sites[0].site),
        delta=subject.delta,
        manifest_digest=manifest.digest,
        streams=subject.streams.child("mechanism"),
        seeded=subject.seeded,
        samples=choice.samples,
        confidence=subject.confidence,
    )
    found, noise, event = [training], manifest.evaluation.noise, manifest.evaluation_event()
    if manifest.preparation is not None:
        found.append(
            audit_preparation(
                manifest.preparation,
                manifest.contract,
                delta=subject.delta,
                manifest_digest=manifest.digest,
                streams=subject.streams.child("preparation"),
                seeded=subject.seeded,
                samples=choice.samples,
                confidence=subject.confidence,
            )
        )
    if noise is None or event is None:
        return tuple(found)
    evaluation = audit_counts(
        noise,
        event,
        delta=subject.delta,
        manifest_digest=manifest.digest,
        streams=subject.streams.child("counts"),
        seeded=subject.seeded,
        samples=choice.samples,
        confidence=subject.confidence,
    )
    return (*found, evaluation)
