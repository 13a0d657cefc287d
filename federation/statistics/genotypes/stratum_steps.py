"""What sites sum for the Cochran-Mantel-Haenszel test of each variant, the sites being the strata.

Mantel & Haenszel 1959; variance of the log odds ratio by Robins, Breslow & Greenland 1986. A site sends what its own table of
alleles adds to the sums and never the table: :func:`~federation.statistics.association.table_parts` for many tables at a time.

Axis names: V variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from federation.identifiers import VariableName
from federation.statistics.genotypes.block_steps import BlockStep, count_states, groups_of
from federation.statistics.step import Columns, Shapes

FloatArray = NDArray[np.float64]
PARTS: Final = ("r", "s", "pr", "ps_qr", "qs", "observed", "expected", "variance")
_FEWEST_ALLELES: Final = 2


class StratumStep(BlockStep):
    """What each site's tables of alleles add."""

    kind: Literal["genotype_strata"] = "genotype_strata"
    outcome: VariableName

    def shapes(self) -> Shapes:
        """``parts`` ``[V, 8]`` as in :data:`PARTS`."""
        return {"parts": (self.size, len(PARTS))}

    def variables(self) -> frozenset[str]:
        """The outcome."""
        return frozenset({self.outcome})

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        controls, cases = groups_of(columns, self.outcome)
        parts = np.empty((self.size, len(PARTS)))
        for part, copies in self.blocks(columns):
            tables = np.stack([alleles(count_states(copies[cases])), alleles(count_states(copies[controls]))], axis=1)
            parts[part] = stratum_parts(tables)
        return {"parts": parts}


def alleles(states: FloatArray) -> FloatArray:
    """``[V, 2]`` copies of the first and of the second allele, from people with 0, 1, 2 copies and without a genotype."""
    return np.stack([states[:, 1] + 2 * states[:, 2], states[:, 1] + 2 * states[:, 0]], axis=1)


def stratum_parts(tables: FloatArray) -> FloatArray:
    """``[V, 8]`` what one stratum adds.

    Args:
        tables: ``[V, 2, 2]`` alleles: of cases and controls, by first and second allele.
    """
    (a, b), (c, d) = np.moveaxis(tables[:, 0], 1, 0), np.moveaxis(tables[:, 1], 1, 0)
    n = a + b + c + d
    is_table = n >= _FEWEST_ALLELES
    safe = np.where(is_table, n, _FEWEST_ALLELES)
    r, s, p, q = a * d / safe, b * c / safe, (a + d) / safe, (b + c) / safe
    cases, first = a + b, a + c
    expected = cases * first / safe
    variance = cases * (c + d) * first * (b + d) / (safe**2 * (safe - 1))
    found = np.stack([r, s, p * r, p * s + q * r, q * s, a, expected, variance], axis=1)
    return np.where(is_table[:, None], found, 0.0)
