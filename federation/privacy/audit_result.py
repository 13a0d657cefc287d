"""What an empirical audit found, as a frozen value: the report shows it, and the release check reads it.

An audit attacks the study's own code and turns the success of the attack into a *lower* bound on epsilon. A bound above
the claimed epsilon proves that the claim is false (at the stated confidence); a bound below it proves nothing: another
attack may do better.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.documents import Document

AuditKind = Literal["mechanism", "one_run", "membership"]
"""One noisy release; canaries in one whole training run; membership inference on the released model."""

_Share = Annotated[float, Field(ge=0, le=1)]


class AttackRate(Document):
    """One point of an attack: how often it is right about members where it is rarely wrong about others."""

    false_positives: Annotated[int, Field(ge=0)]
    others: Annotated[int, Field(ge=1)]
    """Patients who were not members."""
    true_positives: Annotated[int, Field(ge=0)]
    members: Annotated[int, Field(ge=1)]
    true_rate_lower: _Share
    """Lower confidence limit (Clopper & Pearson 1934) of the true positive rate."""
    true_rate_upper: _Share
    false_rate_upper: _Share
    """Upper confidence limit of the false positive rate."""
    allowed: _Share
    """Largest true positive rate that the claim allows: ``exp(epsilon) * false_rate_upper + delta``, at most 1."""

    @property
    def false_rate(self) -> float:
        """As counted."""
        return self.false_positives / self.others

    @property
    def true_rate(self) -> float:
        """As counted."""
        return self.true_positives / self.members


class AuditResult(Document):
    """One audit of one study.

    ``passed`` is stored for readers of the file and checked against the figures: a file in which it was turned around
    is not read.
    """

    format: Literal["cohortium/audit-result/1"] = "cohortium/audit-result/1"
    kind: AuditKind
    manifest_digest: str
    """Of the study whose promise was attacked."""
    attacked: Annotated[str, Field(min_length=1)]
    """What was attacked, in words."""
    method: Annotated[str, Field(min_length=1)]
    """The bound and its source."""
    samples: Annotated[int, Field(ge=1)]
    """Releases a side (mechanism), canaries (one run), or patients (membership)."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    lower_bound_epsilon: Annotated[float, Field(ge=0)]
    """The measured leakage is at least this, with ``confidence``, at ``delta``."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    claimed_epsilon: Annotated[float, Field(ge=0)]
    """The accountant's value, at the same delta, for exactly what was attacked."""
    exact_epsilon: Annotated[float, Field(ge=0)] | None = None
    """Where there is a closed formula, the true epsilon of what was attacked; never above the accountant's."""
    num_guesses: Annotated[int, Field(ge=0)] | None = None
    """One run: guesses behind the bound; the attacker abstains on the other canaries."""
    num_correct: Annotated[int, Field(ge=0)] | None = None
    num_shadow_models: Annotated[int, Field(ge=0)] | None = None
    """Membership: models that the attacker trained for comparison."""
    rates: tuple[AttackRate, ...] = ()
    seeded: bool = False
    """The audit's own randomness came from a known seed, so it can be repeated."""
    passed: bool

    @model_validator(mode="after")
    def _check_verdict(self) -> Self:
        if self.passed != (self.lower_bound_epsilon <= self.claimed_epsilon):
            message = (
                f"passed: expected {not self.passed} with a lower bound of {self.lower_bound_epsilon:.4g} beside a "
                f"claimed epsilon of {self.claimed_epsilon:.4g}"
            )
            raise ValueError(message)
        return self


class StudyAudit(Document):
    """All audits of one study: the file ``audit.json``."""

    format: Literal["cohortium/study-audit/1"] = "cohortium/study-audit/1"
    manifest_digest: str
    results: Annotated[tuple[AuditResult, ...], Field(min_length=1)]

    @property
    def passed(self) -> bool:
        """Whether no bound exceeds its claim."""
        return all(result.passed for result in self.results)
