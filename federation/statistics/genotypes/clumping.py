"""Which variants enter a polygenic score: the strongest of each neighbourhood below a p-value (clumping, Purcell et al. 2007).

Axis names: V variants, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.errors import InvalidInputError
from federation.statistics.genotype_source import Packed
from federation.statistics.genotypes.component_steps import MOST_LINKED, LinkageStep
from federation.statistics.genotypes.quality import Quality
from federation.statistics.genotypes.variants import VariantList
from federation.statistics.result import Table
from federation.statistics.step import Solver, Sums

FloatArray = NDArray[np.float64]
_BASES_PER_KILOBASE: Final = 1000
WEIGHT_COLUMNS: Final = ("chromosome", "variant", "position", "allele", "other", "weight", "frequency", "p")


class ClumpingRules(Document):
    """Of a score's variants."""

    below: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Largest p-value."""
    window: Annotated[float, Field(ge=0)] = 250.0
    """Kilobases on either side of a chosen variant."""
    linkage: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Largest squared correlation with a stronger variant in its window."""


def clumped(
    rules: ClumpingRules, listed: VariantList, *, variants: str, quality: Quality, estimates: Mapping[str, FloatArray]
) -> Solver[Table]:
    """Weights of a polygenic score: regression coefficients of the first allele, log odds ratios of a binary outcome.

    Raises:
        InvalidInputError: If no variant or too many are below the p-value.
    """
    candidates = np.flatnonzero(np.nan_to_num(estimates["p"], nan=1.0) <= rules.below)
    if not 0 < len(candidates) <= MOST_LINKED:
        raise InvalidInputError(
            f"expected 1 to {MOST_LINKED} variants with a p-value of at most {rules.below}, got {len(candidates)}",
            remedy="choose another limit in score_below=",
        )
    order = candidates[np.argsort(estimates["p"][candidates], kind="stable")]
    places = quality.tested[order]
    sums = yield LinkageStep(variants=variants, places=Packed.of(places))
    squared = squared_correlations(sums)
    chosen: list[int] = []
    for place in range(len(order)):
        near = [other for other in chosen if _is_near(listed, places[place], places[other], rules)]
        if not (squared[place, near] > rules.linkage).any():
            chosen.append(place)
    weights = weights_of(estimates)[order]
    rows = [
        (
            str(listed.chromosomes[places[one]]),
            str(listed.names[places[one]]),
            int(listed.positions[places[one]]),
            str(listed.first[places[one]]),
            str(listed.second[places[one]]),
            float(weights[one]),
            float(quality.frequency[places[one]]),
            float(estimates["p"][order[one]]),
        )
        for one in chosen
    ]
    return Table(name="weights", title="Weights of a polygenic score", columns=WEIGHT_COLUMNS, rows=tuple(rows))


def weights_of(estimates: Mapping[str, FloatArray]) -> FloatArray:
    """``[V]`` what one copy of the first allele adds."""
    return estimates["beta"] if "beta" in estimates else np.log(estimates["odds ratio"])


def squared_correlations(sums: Sums) -> FloatArray:
    """``[C, C]`` of copies, over people whose genotypes are known at both variants."""
    people = np.maximum(sums["both"], 1)
    covariance = sums["product"] - sums["sum"] * sums["sum"].T / people
    spread = sums["square"] - sums["sum"] ** 2 / people
    product = spread * spread.T
    return np.where(product > 0, covariance**2 / np.where(product > 0, product, 1.0), 0.0)


def _is_near(listed: VariantList, one: int, other: int, rules: ClumpingRules) -> bool:
    distance = abs(int(listed.positions[one]) - int(listed.positions[other]))
    return listed.chromosomes[one] == listed.chromosomes[other] and distance <= rules.window * _BASES_PER_KILOBASE
