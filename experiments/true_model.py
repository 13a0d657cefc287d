"""The model that synthetic outcomes were drawn from, so that a study can be held against the truth.

Axis names: F encoded features, K outputs.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document
from federation.identifiers import SiteId
from federation.models.spec import TaskKind

FloatArray = NDArray[np.float64]


class LinearTruth(Document):
    """Intercepts and coefficients on the encoded features."""

    intercepts: tuple[float, ...]
    """K values: one for a binary outcome and for regression; one per class otherwise, the first being 0."""
    coefficients: tuple[tuple[float, ...], ...]
    """K rows of F values."""

    def predict(self, features: NDArray[np.floating]) -> FloatArray:
        """Linear predictor ``[R, K]`` of features ``[R, F]``."""
        return features.astype(np.float64) @ np.array(self.coefficients).T + np.array(self.intercepts)


class TrueModel(Document):
    """What every hospital has in common, and how each departs from it."""

    task: TaskKind
    contract: str
    """Digest of the data contract whose encoding the coefficients refer to."""
    feature_names: tuple[str, ...]
    common: LinearTruth
    """Log odds (binary), log odds against the first class (multiclass) or the scaled outcome (regression)."""
    sites: dict[SiteId, LinearTruth]
    """Equal to ``common`` when the hospitals were drawn without heterogeneity."""
    residual: Annotated[float, Field(ge=0)] = 0.0
    """Regression: standard deviation of the scaled outcome around its prediction."""
