"""What sites sum for the regression of an outcome on each variant: cross products, or score and information of a logistic model.

A person without a genotype of a variant is left out for that variant, as PLINK does, or gets the mean that the step names. In the
first case sums of two variants differ by the people who lack them; in the second, those of covariates and outcome are the same.

Axis names: R records, V variants, p columns beside the genotype, q = p (p + 1) / 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from federation.statistics.genotype_source import MISSING, CopyArray, Packed
from federation.statistics.genotypes.block_steps import BlockStep, groups_of
from federation.statistics.genotypes.scan_model import ScanModel, products
from federation.statistics.step import Columns, Shapes

FloatArray = NDArray[np.float64]
_LARGEST_PREDICTOR = 35.0
"""Beyond it a probability is 0 or 1 to what float64 can tell."""


class ScanStep(BlockStep):
    """A regression of the outcome on each variant."""

    model: ScanModel
    fill: Packed | None = None
    """``[V]`` copies of those whose genotype is missing; ``None``: they are left out."""

    @model_validator(mode="after")
    def _check_fill(self) -> Self:
        if self.fill is not None and self.fill.shape != (self.size,):
            raise ValueError("expected a number of copies for every variant")
        return self

    def variables(self) -> frozenset[str]:
        """Those of the model."""
        return self.model.variables()

    def filled(self, part: slice, copies: CopyArray) -> tuple[NDArray[np.bool_], FloatArray]:
        """``[R, v]`` who is in the sums of which variant, and the copies; 0 for those who are not."""
        known = copies != MISSING
        if self.fill is None:
            return known, np.where(known, copies, 0).astype(np.float64)
        return np.ones_like(known), np.where(known, copies, self.fill.array[part])


class LinearScanStep(ScanStep):
    """Cross products of covariates, genotype and outcome."""

    kind: Literal["genotype_linear"] = "genotype_linear"

    def shapes(self) -> Shapes:
        """Of covariates and genotype: ``gram`` ``[V, q]``, ``cross`` ``[V, p]``, ``square`` ``[V]``.

        With the outcome: ``scores`` ``[V, p]``, ``score`` ``[V]``; of the outcome: ``outcomes`` ``[V]``.
        """
        width = self.model.width
        return {
            "gram": (self.size, width * (width + 1) // 2),
            "cross": (self.size, width),
            "square": (self.size,),
            "scores": (self.size, width),
            "score": (self.size,),
            "outcomes": (self.size,),
        }

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        covariates = self.model.covariates(columns, self.genotypes(columns))
        outcome = self.model.outcomes(columns)
        pairs, weighted = products(covariates), covariates * outcome[:, None]
        found = {name: np.empty(shape) for name, shape in self.shapes().items()}
        for part, copies in self.blocks(columns):
            among, genotype = self.filled(part, copies)
            known = among.astype(np.float64)
            found["gram"][part] = known.T @ pairs
            found["cross"][part] = genotype.T @ covariates
            found["square"][part] = np.einsum("rv,rv->v", genotype, genotype)
            found["scores"][part] = known.T @ weighted
            found["score"][part] = genotype.T @ outcome
            found["outcomes"][part] = known.T @ (outcome * outcome)
        return found


class LogisticScanStep(ScanStep):
    """Score and information of a logistic model of each variant, at coefficients of its own."""

    kind: Literal["genotype_logistic"] = "genotype_logistic"
    coefficients: Packed
    """``[V, p + 1]``; the genotype's comes last."""

    @model_validator(mode="after")
    def _check_coefficients(self) -> Self:
        if self.coefficients.shape != (self.size, self.model.width + 1):
            raise ValueError("expected a coefficient for every column of every variant")
        return self

    def shapes(self) -> Shapes:
        """``gram`` ``[V, q]``, ``cross`` ``[V, p]``, ``square`` ``[V]``; ``scores`` ``[V, p]`` and ``score`` ``[V]``."""
        width = self.model.width
        return {
            "gram": (self.size, width * (width + 1) // 2),
            "cross": (self.size, width),
            "square": (self.size,),
            "scores": (self.size, width),
            "score": (self.size,),
        }

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        groups_of(columns, self.model.outcome)
        covariates = self.model.covariates(columns, self.genotypes(columns))
        outcome = columns.values[self.model.outcome][:, None]
        pairs, coefficients = products(covariates), self.coefficients.array
        found = {name: np.empty(shape) for name, shape in self.shapes().items()}
        for part, copies in self.blocks(columns):
            known, genotype = self.filled(part, copies)
            at = coefficients[part]
            predictor = covariates @ at[:, :-1].T + genotype * at[:, -1]
            mean = 1.0 / (1.0 + np.exp(-np.clip(predictor, -_LARGEST_PREDICTOR, _LARGEST_PREDICTOR)))
            weight = np.where(known, mean * (1.0 - mean), 0.0)
            residual = np.where(known, outcome - mean, 0.0)
            found["gram"][part] = weight.T @ pairs
            weight *= genotype
            found["cross"][part] = weight.T @ covariates
            found["square"][part] = np.einsum("rv,rv->v", weight, genotype)
            found["scores"][part] = residual.T @ covariates
            found["score"][part] = np.einsum("rv,rv->v", residual, genotype)
        return found
