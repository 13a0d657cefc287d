"""What sites sum for a generalised linear model: its cross products, then score and information at given coefficients.

At coefficients b, a site sends ``X' W X``, ``X' D (y - mu)``, its deviance and Pearson's chi-squared; their sums are those of the
pooled records. McCullagh & Nelder 1989, section 2.5; for several sites: Jones et al. 2012 (DataSHIELD).

Axis names: R records, p columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.errors import RecordsError
from federation.identifiers import VariableName
from federation.statistics.design import Design, Factor, linear_predictor
from federation.statistics.families import (
    Family,
    base_likelihood,
    deviance_of,
    has_support,
    mean_of,
    variance_of,
    weights_of,
)
from federation.statistics.step import Columns, Shapes, Step

FloatArray = NDArray[np.float64]

_SUPPORT = {
    "linear": "finite numbers",
    "logistic": "0 or 1",
    "poisson": "whole numbers from 0",
    "gamma": "numbers above 0",
}


class RegressionModel(Document):
    """What is regressed on what."""

    family: Family
    outcome: VariableName
    design: Design
    outcome_centre: float = 0.0
    outcome_scale: Annotated[float, Field(gt=0)] = 1.0
    """Sites use ``(outcome - centre) / scale``, by the contract's public range."""
    offset: Factor | None = None
    """Added to the linear predictor with coefficient 1."""

    def variables(self) -> frozenset[str]:
        """Every variable that the model reads."""
        offset = frozenset() if self.offset is None else frozenset({self.offset.variable})
        return self.design.variables() | {self.outcome} | offset

    def data(self, columns: Columns) -> tuple[FloatArray, FloatArray, FloatArray]:
        """``[R, p]`` design, ``[R]`` scaled outcomes and ``[R]`` offsets of the scaled predictor.

        Raises:
            RecordsError: If the family does not allow an outcome; says how many, and no value.
        """
        plain = columns.values[self.outcome]
        if not has_support(self.family, plain):
            raise RecordsError(
                f"expected outcomes of a {self.family} model to be {_SUPPORT[self.family]}, got others",
                variable=self.outcome,
                remedy="choose another family, or a plausible range in the contract that leaves such records out",
            )
        outcome = (plain - self.outcome_centre) / self.outcome_scale
        shift = np.zeros(columns.records) if self.offset is None else self.offset.evaluate(columns.values)
        if self.family == "linear":
            shift = shift / self.outcome_scale
        return self.design.matrix(columns.values, records=columns.records), outcome, shift


class CrossProductStep(Step):
    """Cross products of the columns, and what the first guess of the intercept needs."""

    kind: Literal["glm_cross_products"] = "glm_cross_products"
    model: RegressionModel

    def shapes(self) -> Shapes:
        """``gram`` ``[p, p]``, ``outcome`` and ``exposure``: sums of outcomes and of exp(offset)."""
        width = len(self.model.design.columns)
        return {"gram": (width, width), "outcome": (), "exposure": ()}

    def variables(self) -> frozenset[str]:
        """Those of the model."""
        return self.model.variables()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        design, outcome, shift = self.model.data(columns)
        return {"gram": design.T @ design, "outcome": outcome.sum(), "exposure": self._exposure(shift).sum()}

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        design, outcome, shift = self.model.data(columns)
        gram = design[:, :, None] * design[:, None, :]
        return {"gram": gram, "outcome": outcome, "exposure": self._exposure(shift)}

    def _exposure(self, shift: FloatArray) -> FloatArray:
        return np.exp(np.clip(shift, -30, 30)) if self.model.family in {"poisson", "gamma"} else shift


class ScoreStep(Step):
    """Score and information at given coefficients of the scaled columns."""

    chosen: ClassVar[frozenset[str]] = frozenset({"coefficients"})
    kind: Literal["glm_score"] = "glm_score"
    model: RegressionModel
    coefficients: tuple[float, ...]

    def shapes(self) -> Shapes:
        """``information`` ``[p, p]``, ``score`` ``[p]``, ``deviance``, ``pearson``, ``base``: see :mod:`.families`."""
        width = len(self.model.design.columns)
        return {"information": (width, width), "score": (width,), "deviance": (), "pearson": (), "base": ()}

    def variables(self) -> frozenset[str]:
        """Those of the model."""
        return self.model.variables()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        design, residual, found = self._at(columns)
        return {
            "information": design.T @ (design * found["weights"][:, None]),
            "score": design.T @ (found["factors"] * residual),
            **{name: found[name].sum() for name in ("deviance", "pearson", "base")},
        }

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        design, residual, found = self._at(columns)
        return {
            "information": design[:, :, None] * design[:, None, :] * found["weights"][:, None, None],
            "score": design * (found["factors"] * residual)[:, None],
            **{name: found[name] for name in ("deviance", "pearson", "base")},
        }

    def _at(self, columns: Columns) -> tuple[FloatArray, FloatArray, dict[str, FloatArray]]:
        """``[R, p]`` design, ``[R]`` residuals, and of each record its weights and its parts of the likelihood."""
        family = self.model.family
        design, outcome, shift = self.model.data(columns)
        mean = mean_of(family, linear_predictor(design, self.coefficients) + shift)
        weights, factors = weights_of(family, mean)
        residual = outcome - mean
        variance = np.maximum(variance_of(family, mean), np.finfo(float).tiny)
        return (
            design,
            residual,
            {
                "weights": weights,
                "factors": factors,
                "deviance": deviance_of(family, outcome, mean),
                "pearson": np.minimum(residual**2 / variance, 1e9),
                "base": base_likelihood(family, outcome),
            },
        )
