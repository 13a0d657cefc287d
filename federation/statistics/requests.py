"""What a study's analyses fix in advance, and what a site is asked: one step over one selection of patients."""

from __future__ import annotations

import hashlib
from typing import Annotated, Self

from pydantic import Field, model_validator

from federation.data.cohort import CohortDefinition, Criterion
from federation.data.contract import DataContract
from federation.documents import Document
from federation.identifiers import SiteId, VariableName
from federation.statistics.disclosure import DEFAULT_THRESHOLD
from federation.statistics.steps import AnyStep
from federation.statistics.wide_sums import MOST_SITES


class StatisticsTerms(Document):
    """The public terms of a study's analyses. Sites answer under the digest of the terms that they know."""

    contract: DataContract
    cohort: CohortDefinition
    sites: Annotated[tuple[SiteId, ...], Field(min_length=1, max_length=MOST_SITES)]
    threshold: Annotated[int, Field(ge=1)] = DEFAULT_THRESHOLD
    """Smallest number of patients that a count, or a difference of counts, may show."""
    records_per_patient: Annotated[int, Field(ge=1, exclude_if=lambda most: most == 1)] = 1
    """Of a patient's records at most so many are used, drawn by keyed hash; 1 is left out of the canonical bytes."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.sites)) != len(self.sites):
            raise ValueError("expected every site once")
        if self.cohort.provenance == "patients" and self.threshold < 3:  # noqa: PLR2004
            raise ValueError("expected a threshold of at least 3 for records of patients that are not public")
        return self


class Selection(Document):
    """Over which of the cohort's patients an analysis is. The same in all of its steps."""

    where: tuple[Criterion, ...] = ()
    """Beside the cohort's own criteria."""
    complete: tuple[VariableName, ...] = ()
    """Variables that must be known: missing values are excluded or imputed as the contract says."""


class StepRequest(Document):
    """One step for one site. Its hash is bound into the masks, so sites that were asked different things open nothing."""

    terms: str
    """Digest of the study's :class:`StatisticsTerms`."""
    number: Annotated[int, Field(ge=1, lt=2**31)]
    """Of the sum, counted from 1 over all analyses of a study."""
    selection: Selection
    step: AnyStep

    def content_hash(self) -> bytes:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.canonical_bytes()).digest()
