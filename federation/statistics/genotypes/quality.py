"""Which variants are tested: rules on counts of genotypes over all sites, and on how many carriers may be told about.

Axis names: V variants, G groups of the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.statistics.disclosure import is_small
from federation.statistics.genotypes.hardy_weinberg import hardy_weinberg_p
from federation.statistics.result import Table

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

VERDICTS: Final = (
    "tested",
    "at no site",
    "one allele only",
    "carriers below the threshold",
    "too many missing",
    "too rare",
    "out of equilibrium",
)
"""The first rule that a variant breaks, in this order."""
_TESTED, _NOWHERE, _ONE_ALLELE, _FEW, _MISSING, _RARE, _OUTSIDE = range(len(VERDICTS))


class QualityRules(Document):
    """What a variant must satisfy."""

    missing: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest share of patients without a genotype. A site that cannot offer a variant is missing with all its patients."""
    maf: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """Smallest frequency of the rarer allele over all sites."""
    hwe: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Smallest p-value of the test over all sites together. Populations that differ fail it without any fault of the genotypes."""
    hwe_within: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """A variant is left out if at any site that site's own p-value is smaller."""


@dataclass(frozen=True)
class Quality:
    """What the counts say.

    Args:
        counts: ``[V, G, 4]`` people with 0, 1, 2 copies and without a genotype.
        outside: ``[V]`` sites that are out of equilibrium.
        known: ``[V]`` people with a genotype.
        missing: ``[V]`` share of people without.
        frequency: ``[V]`` of the first allele; 0 where nobody has a genotype.
        equilibrium: ``[V]`` p-values over all sites together.
        verdicts: ``[V]`` places in :data:`VERDICTS`.
    """

    counts: FloatArray = field(repr=False)
    outside: FloatArray = field(repr=False)
    known: FloatArray = field(repr=False)
    missing: FloatArray = field(repr=False)
    frequency: FloatArray = field(repr=False)
    equilibrium: FloatArray = field(repr=False)
    verdicts: IndexArray = field(repr=False)

    @property
    def tested(self) -> IndexArray:
        """Places of the variants that pass."""
        return np.flatnonzero(self.verdicts == _TESTED)

    def attrition(self) -> Table:
        """How many variants met which verdict."""
        counted = np.bincount(self.verdicts, minlength=len(VERDICTS)).tolist()
        return Table(
            name="quality",
            title="Variants",
            columns=("verdict", "variants"),
            rows=tuple(zip(VERDICTS, counted, strict=True)),
        )


def judge(counts: FloatArray, outside: FloatArray, *, rules: QualityRules, threshold: int) -> Quality:
    """Judge every variant.

    Args:
        counts: ``[V, G, 4]`` over all sites.
        outside: ``[V]`` sites out of equilibrium.
        rules: Of the study.
        threshold: Fewest carriers of the rarer allele, in every group, that may be told about; none at all is told.

    Raises:
        PrivacyRefusedError: If a group has too few patients.
        InvalidInputError: If no variant passes.
    """
    groups = counts[0].sum(axis=1)
    if (groups < threshold).any():
        raise PrivacyRefusedError(
            f"expected at least {threshold} patients in each group of the outcome, got fewer",
            remedy="widen the selection",
            reason="too_few_patients",
        )
    total = counts.sum(axis=1)
    known = total[:, :3].sum(axis=1)
    frequency = (total[:, 1] + 2 * total[:, 2]) / np.maximum(2 * known, 1)
    equilibrium = hardy_weinberg_p(total[:, :3])
    rarer = np.minimum(frequency, 1 - frequency)
    missing = total[:, 3] / total.sum(axis=1)
    broken = {
        _OUTSIDE: (outside > 0) | (equilibrium < rules.hwe),
        _RARE: rarer < rules.maf,
        _MISSING: missing > rules.missing,
        _FEW: _has_few_carriers(counts, is_first_rarer=frequency <= 1 / 2, threshold=threshold),
        _ONE_ALLELE: rarer == 0,
        _NOWHERE: known == 0,
    }
    verdicts = np.zeros(len(counts), dtype=np.int64)
    for verdict, is_broken in broken.items():
        verdicts[is_broken] = verdict
    if not (verdicts == _TESTED).any():
        reasons = {name: int(np.count_nonzero(verdicts == place)) for place, name in enumerate(VERDICTS) if place}
        raise InvalidInputError(
            f"expected variants to test, got none: {reasons}",
            remedy="check that sites and study name the same build and alleles, or loosen maf=, missing=, hwe_within=",
        )
    return Quality(
        counts=counts,
        outside=outside,
        known=known,
        missing=missing,
        frequency=frequency,
        equilibrium=equilibrium,
        verdicts=verdicts,
    )


def _has_few_carriers(counts: FloatArray, *, is_first_rarer: NDArray[np.bool_], threshold: int) -> NDArray[np.bool_]:
    of_first, of_second = counts[:, :, 1] + counts[:, :, 2], counts[:, :, 1] + counts[:, :, 0]
    carriers = np.where(is_first_rarer[:, None], of_first, of_second)
    return is_small(carriers, threshold).any(axis=1) | is_small(carriers.sum(axis=1), threshold)
