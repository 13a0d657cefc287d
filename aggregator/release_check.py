"""The last question before a model is written: has an audit refuted its privacy claim?"""

from __future__ import annotations

from collections.abc import Sequence

from federation.errors import AuditFailedError
from federation.privacy.audit_result import AuditResult


def release_check(audits: Sequence[AuditResult], *, manifest_digest: str) -> None:
    """Refuse the release if a measured lower bound exceeds the claimed epsilon.

    Call it before the model file, the report or anything else is written for others. No audit is no objection: whether
    one is wanted is the study's choice, and the report says that there was none.

    Args:
        audits: Of this study.
        manifest_digest: Of the study to be released.

    Raises:
        AuditFailedError: If a bound exceeds its claim, or an audit is of another study.
    """
    foreign = sorted({audit.manifest_digest for audit in audits} - {manifest_digest})
    if foreign:
        raise AuditFailedError(
            f"expected audits of study {manifest_digest}, got audits of {', '.join(foreign)}",
            remedy="audit the study that is to be released; an audit of another one says nothing about it",
        )
    # The figures decide, not the stored verdict.
    failed = [audit for audit in audits if not audit.lower_bound_epsilon <= audit.claimed_epsilon]
    if failed:
        found = "; ".join(
            f"{audit.kind}: at least {audit.lower_bound_epsilon:.3g} measured, {audit.claimed_epsilon:.3g} claimed"
            for audit in failed
        )
        raise AuditFailedError(
            f"expected measured leakage of at most the claimed epsilon, got {found} "
            f"(delta {failed[0].delta:g}, {failed[0].confidence:.0%} confidence)",
            remedy="release nothing: the privacy claim is refuted. Repeat the audit with another --seed; if it fails again, "
            "report a bug in the private step",
            **{audit.kind: f"{audit.lower_bound_epsilon:.6g} > {audit.claimed_epsilon:.6g}" for audit in failed},
        )
