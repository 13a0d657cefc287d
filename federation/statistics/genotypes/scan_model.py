"""What every variant is tested beside: outcome, covariates, and principal components that each site computes for its own people.

Axis names: R records, V variants, p columns beside the genotype.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.identifiers import VariableName
from federation.statistics.design import Design
from federation.statistics.genotype_source import Genotypes, Projection
from federation.statistics.step import Columns

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


class ScanModel(Document):
    """Outcome and covariates of a scan."""

    outcome: VariableName
    outcome_centre: float = 0.0
    outcome_scale: Annotated[float, Field(gt=0)] = 1.0
    """Sites use ``(outcome - centre) / scale``, by the contract's public range."""
    design: Design
    """The intercept and covariates."""
    components: Projection | None = None
    """Scores of principal components, further columns."""

    @property
    def width(self) -> int:
        """Columns, p."""
        return len(self.design.columns) + (0 if self.components is None else self.components.width)

    def variables(self) -> frozenset[str]:
        """Every variable that the model reads."""
        return self.design.variables() | {self.outcome}

    def covariates(self, columns: Columns, genotypes: Genotypes) -> FloatArray:
        """``[R, p]``: the design, then the components."""
        plain = self.design.matrix(columns.values, records=columns.records)
        if self.components is None:
            return plain
        return np.hstack([plain, genotypes.projected(self.components)])

    def outcomes(self, columns: Columns) -> FloatArray:
        """``[R]`` scaled outcomes."""
        return (columns.values[self.outcome] - self.outcome_centre) / self.outcome_scale


def upper(width: int) -> tuple[IndexArray, IndexArray]:
    """Rows and columns of the upper triangle of a symmetric matrix, in the order in which it is sent."""
    rows, places = np.triu_indices(width)
    return rows.astype(np.int64), places.astype(np.int64)


def products(covariates: FloatArray) -> FloatArray:
    """``[R, p (p + 1) / 2]`` products of columns: weighted sums of them are the upper triangles of cross products."""
    rows, places = upper(covariates.shape[1])
    return covariates[:, rows] * covariates[:, places]


def symmetric(triangles: FloatArray, width: int) -> FloatArray:
    """``[V, p, p]`` from the upper triangles ``[V, p (p + 1) / 2]``."""
    found = np.empty((len(triangles), width, width))
    rows, places = upper(width)
    found[:, rows, places] = triangles
    found[:, places, rows] = triangles
    return found


def bordered(triangles: FloatArray, cross: FloatArray, square: FloatArray, width: int) -> FloatArray:
    """``[V, p + 1, p + 1]`` cross products of the covariates and the genotype, which comes last."""
    found = np.empty((len(triangles), width + 1, width + 1))
    found[:, :width, :width] = symmetric(triangles, width)
    found[:, :width, width] = cross
    found[:, width, :width] = cross
    found[:, width, width] = square
    return found
