"""The model that synthetic outcomes were drawn from, so that a study can be held against the truth.

Axis names: F encoded features, K outputs.
"""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from federation.documents import Document
from federation.errors import ConfigurationError
from federation.identifiers import SiteId, TaskKind

FloatArray = NDArray[np.float64]

DEPARTURE: Final = 0.5
"""Spread over hospitals, at heterogeneity 1: of latent means in standard deviations, of coefficients relative to their size."""
_REGRESSION_SIGNAL: Final = 0.2
"""A scaled outcome lives in [-1, 1]; a signal of 1.5 fills it with a standard deviation of 0.3."""


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


def draw_truth(
    features: FloatArray,
    *,
    task: TaskKind,
    num_outputs: int,
    signal: float,
    prevalence: float,
    generator: np.random.Generator,
) -> LinearTruth:
    """Draw the common truth.

    Args:
        features: ``[R, F]`` encoded features of all hospitals' records; those that never vary get the coefficient 0.
        task: Kind of outcome.
        num_outputs: K.
        signal: Standard deviation over records of each linear predictor; in units of 0.2 for regression.
        prevalence: Expected share of positive outcomes (binary task).
        generator: Source of randomness.

    Raises:
        ConfigurationError: If no feature varies.
    """
    drawn = generator.standard_normal((num_outputs, features.shape[1]))
    drawn = np.where(features.std(axis=0) > 0, drawn, 0.0)
    spread = (features @ drawn.T).std(axis=0)
    if not np.all(spread > 0):
        raise ConfigurationError(
            "expected variables that differ between patients, got none",
            remedy="draw more patients, or use another contract",
        )
    drawn *= (signal * (_REGRESSION_SIGNAL if task in {"regression", "quantile"} else 1.0) / spread)[:, None]
    predictor = features @ drawn.T
    intercepts = -predictor.mean(axis=0)
    if task == "binary":
        intercepts = np.array([_intercept(predictor[:, 0], prevalence=prevalence)])
    if task == "multiclass":
        drawn[0], intercepts[0] = 0.0, 0.0  # the reference class makes the truth identifiable
    return _truth(intercepts, drawn)


def depart(common: LinearTruth, *, heterogeneity: float, generator: np.random.Generator) -> LinearTruth:
    """A hospital's own truth: normal departures from the common one, relative to the size of its coefficients.

    Args:
        common: The truth that hospitals have in common.
        heterogeneity: 0 gives ``common`` itself.
        generator: The hospital's own source of randomness.
    """
    coefficients, intercepts = np.array(common.coefficients), np.array(common.intercepts)
    size = DEPARTURE * heterogeneity * np.sqrt((coefficients**2).mean(axis=1, keepdims=True))
    # What is 0 in common (indicators, the reference class) stays 0.
    moved = coefficients + size * generator.standard_normal(coefficients.shape) * (coefficients != 0)
    return _truth(intercepts + size[:, 0] * generator.standard_normal(len(intercepts)), moved)


def _intercept(predictor: FloatArray, *, prevalence: float) -> float:
    """The intercept at which the expected prevalence is as wanted, to the last bit."""
    low, high = -float(np.abs(predictor).max()) - 40.0, float(np.abs(predictor).max()) + 40.0
    # Halving: scipy's solvers take a third of a second to import, longer than a whole hospital takes to be drawn.
    while low < (middle := (low + high) / 2) < high:
        if float(expit(predictor + middle).mean()) < prevalence:
            low = middle
        else:
            high = middle
    return middle


def _truth(intercepts: FloatArray, coefficients: FloatArray) -> LinearTruth:
    return LinearTruth(
        intercepts=tuple(intercepts.tolist()), coefficients=tuple(tuple(row) for row in coefficients.tolist())
    )
