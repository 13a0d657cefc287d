"""Which audits to run, as settings."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from federation.documents import Document
from federation.privacy.audit_result import AuditKind

ALL_KINDS: Final[tuple[AuditKind, ...]] = ("mechanism", "one_run", "membership")


class AuditChoice(Document):
    """Empirical audits of a private study."""

    kind: Literal["none", "mechanism", "one_run", "membership", "all"] = "none"
    samples: Annotated[int, Field(ge=200, le=10_000_000)] = 200_000
    """Mechanism: releases a side."""
    canaries: Annotated[int, Field(ge=10, le=50_000)] = 5000
    """One run: invented patients, half of whom take part."""
    shadow_models: Annotated[int, Field(ge=2, le=4096)] = 16
    """Membership: trainings of the whole study that the attacker compares with."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95

    @property
    def kinds(self) -> tuple[AuditKind, ...]:
        """The audits to run, the quickest first."""
        if self.kind == "none":
            return ()
        return ALL_KINDS if self.kind == "all" else (self.kind,)
