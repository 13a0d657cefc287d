"""What sites sum for principal components and scores over variants.

Axis names: R records, M variants, k columns, b bins, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.identifiers import VariableName
from federation.statistics.genotype_source import MISSING, Projection, in_blocks, standardised
from federation.statistics.genotypes.block_steps import BlockStep, GenotypeStep, groups_of
from federation.statistics.genotypes.scan_model import ScanModel
from federation.statistics.step import Columns, Shapes

FloatArray = NDArray[np.float64]
MOST_LINKED: Final = 1000


class ComponentStep(GenotypeStep):
    """``Z' Z B``: the cross products of standardised genotypes Z applied to k columns, without the cross products themselves."""

    kind: Literal["genotype_components"] = "genotype_components"
    projection: Projection
    """Its loadings are B."""

    def shapes(self) -> Shapes:
        """``product`` ``[M, k]``; ``trace``: the sum of squares of Z."""
        return {"product": (self.projection.places.shape[0], self.projection.width), "trace": ()}

    def variables(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        genotypes = self.genotypes(columns)
        scores = genotypes.projected(self.projection)
        places = self.projection.places.places
        centres, scales = self.projection.centres.array, self.projection.scales.array
        product = np.empty((len(places), self.projection.width))
        trace = 0.0
        for part in in_blocks(places):
            block = standardised(genotypes.read(places[part]), centres[part], scales[part])
            product[part] = block.T @ scores
            trace += float(np.einsum("rv,rv->", block, block))
        return {"product": product, "trace": np.array(trace)}


class LinkageStep(BlockStep):
    """Cross products of a few variants with one another, of people whose genotypes are known at both."""

    kind: Literal["genotype_linkage"] = "genotype_linkage"
    is_whole: ClassVar[bool] = True

    def shapes(self) -> Shapes:
        """``both``, ``sum``, ``square``, ``product``, ``[V, V]`` each.

        People; of the row's copies the sum, the sum of squares, and that of products with the column's.
        """
        square = (self.size, self.size)
        return {"both": square, "sum": square, "square": square, "product": square}

    def variables(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        copies = np.empty((columns.records, self.size), dtype=np.int8)
        for part, block in self.blocks(columns):
            copies[:, part] = block
        known = (copies != MISSING).astype(np.float64)
        genotype = np.where(copies == MISSING, 0, copies).astype(np.float64)
        return {
            "both": known.T @ known,
            "sum": genotype.T @ known,
            "square": (genotype * genotype).T @ known,
            "product": genotype.T @ genotype,
        }


class ScoreStep(GenotypeStep):
    """Cross products of covariates, a polygenic score and the outcome."""

    kind: Literal["genotype_score"] = "genotype_score"
    model: ScanModel
    score: Projection

    def shapes(self) -> Shapes:
        """``gram`` ``[p + 2, p + 2]``: covariates, score, outcome."""
        width = self.model.width + 2
        return {"gram": (width, width)}

    def variables(self) -> frozenset[str]:
        """Those of the model."""
        return self.model.variables()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        genotypes = self.genotypes(columns)
        covariates = self.model.covariates(columns, genotypes)
        matrix = np.column_stack([covariates, genotypes.projected(self.score)[:, 0], self.model.outcomes(columns)])
        return {"gram": matrix.T @ matrix}


class ScoreHistogramStep(GenotypeStep):
    """How many cases and controls have a score in which bin."""

    kind: Literal["genotype_score_histogram"] = "genotype_score_histogram"
    is_whole: ClassVar[bool] = True
    score: Projection
    outcome: VariableName
    lower: float
    upper: float
    bins: Annotated[int, Field(ge=2, le=100_000)]

    def shapes(self) -> Shapes:
        """``counts`` ``[2, b]``: controls, cases. Scores beyond the ends are in the outer bins."""
        return {"counts": (2, self.bins)}

    def variables(self) -> frozenset[str]:
        """The outcome."""
        return frozenset({self.outcome})

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        scores = self.genotypes(columns).projected(self.score)[:, 0]
        place = np.floor((scores - self.lower) / (self.upper - self.lower) * self.bins)
        bins = np.clip(place, 0, self.bins - 1).astype(np.int64)
        groups = groups_of(columns, self.outcome)
        return {"counts": np.stack([np.bincount(bins[group], minlength=self.bins) for group in groups]).astype(float)}
