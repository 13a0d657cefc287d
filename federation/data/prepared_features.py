"""From noisy counts to a map of the features, and its application. Public post-processing throughout.

::

    prepared = keep * clip((feature - centre) / spread, -limit, limit)

Continuous and integer features get centre and spread from their quantiles; one-hot features of merged levels get ``keep = 0``;
every other feature has centre 0, spread 1 and keep 1 and lies in [-1, 1] already, so it stays as it is.

The error of a quantile is stated in ranks: with S sites, counts of variance v and a tree with factor c
(:func:`~federation.data.quantile_tree.rank_variance`), its standard deviation is ``sqrt(c * S * v)`` patients. Quantiles nearer
than 4 of these to an end of the data could lie anywhere in the wide range, so quantiles nearer to the median are taken and
stretched as for a normal distribution; if not even the quartiles are 4 standard deviations from the ends, the variable
keeps its public range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from federation.data.contract import DataContract
from federation.data.encoding import feature_names
from federation.data.preparation import LevelsPart, NumberPart, PreparationSpec, count_layout
from federation.data.quantile_tree import Ranks, rank_variance
from federation.documents import Document
from federation.errors import InternalError, TransportError

FloatArray = NDArray[np.float64]

ARRAYS: Final = ("centre", "spread", "keep")
_SURE: Final = 4.0
"""Standard deviations of its rank between a quantile and the nearer end of the data."""
_NEAREST: Final = 0.25
"""Quantiles nearer to the median than the quartiles are not taken."""
_FINEST: Final = 2.0**-20
"""Smallest spread, relative to the magnitude of the encoded range: 16 steps of a float32."""
_MEAN_POINTS: Final = 512
_VOCABULARY_SURE: Final = 2.0
"""Standard deviations of a count that the threshold of the vocabulary has to be worth."""


class PreparedFeatures(Document):
    """The public map of the features. Vectors have length F, in the order of the encoded features."""

    centre: tuple[float, ...]
    spread: tuple[Annotated[float, Field(gt=0)], ...]
    keep: tuple[Literal[0, 1], ...]
    limit: Annotated[float, Field(ge=1)]
    rank_error: tuple[Annotated[float, Field(ge=0)], ...]
    """Standard deviation of the rank of a feature's quantiles over its patients; 0 where the public range is kept."""
    notices: tuple[str, ...] = ()
    """What could not be prepared, in words. Public, as everything here."""

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        lengths = {len(self.centre), len(self.spread), len(self.keep), len(self.rank_error)}
        if len(lengths) != 1:
            message = f"expected centre, spread, keep and rank_error of one length, got {sorted(lengths)}"
            raise ValueError(message)
        return self

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map encoded features.

        Args:
            features: ``[R, F]`` as encoded by the contract.

        Returns:
            ``[R, F]`` float32 in [-limit, limit]; NaN stays NaN.

        Raises:
            InternalError: If the number of features differs.
        """
        if features.ndim != 2 or features.shape[1] != len(self.centre):  # noqa: PLR2004 - records by features
            raise InternalError(f"expected [R, {len(self.centre)}] features, got {list(features.shape)}")
        scaled = (features.astype(np.float64) - np.array(self.centre)) / np.array(self.spread)
        return (np.array(self.keep) * np.clip(scaled, -self.limit, self.limit)).astype(np.float32)

    def to_arrays(self) -> dict[str, FloatArray]:
        """``centre``, ``spread`` and ``keep`` as float64 vectors: what every request carries."""
        return {name: np.array(getattr(self, name), dtype=np.float64) for name in ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray], *, limit: float, num_features: int) -> Self:
        """What a site makes of a request.

        Args:
            arrays: As :meth:`to_arrays` gives.
            limit: The manifest's.
            num_features: F.

        Raises:
            TransportError: If an array is absent, of another length or impossible.
        """
        fits = set(arrays) == set(ARRAYS) and all(arrays[name].shape == (num_features,) for name in ARRAYS)
        possible = fits and (
            all(np.isfinite(arrays[name]).all() for name in ARRAYS)
            and bool((arrays["spread"] > 0).all())
            and bool(np.isin(arrays["keep"], (0.0, 1.0)).all())
        )
        if not possible:
            raise TransportError(
                f"expected finite vectors {list(ARRAYS)} of length {num_features}, spread positive and keep 0 or 1, got "
                f"{ {name: list(array.shape) for name, array in sorted(arrays.items())} }"
            )
        return cls(
            centre=tuple(arrays["centre"].tolist()),
            spread=tuple(arrays["spread"].tolist()),
            keep=tuple(1 if kept else 0 for kept in arrays["keep"]),
            limit=limit,
            rank_error=(0.0,) * num_features,
        )


@dataclass(frozen=True)
class _Draft:
    """The map while it is made: vectors that are filled in place."""

    centre: FloatArray
    spread: FloatArray
    keep: NDArray[np.int64]
    rank_error: FloatArray
    notices: list[str]


def derive(counts: FloatArray, *, spec: PreparationSpec, contract: DataContract, num_sites: int) -> PreparedFeatures:
    """The map that a sum of noisy counts gives. Deterministic.

    Args:
        counts: ``[D]`` sum over sites, as laid out by :func:`~federation.data.preparation.count_layout`.
        spec: What was counted and how.
        contract: Of the study.
        num_sites: Sites in the sum; each brought noise of its own.

    Raises:
        InternalError: If the number of counts differs.
    """
    layout = count_layout(spec, contract)
    if counts.shape != (layout.size,) or num_sites < 1:
        raise InternalError(f"expected {layout.size} counts of some sites, got {list(counts.shape)} of {num_sites}")
    width = len(feature_names(contract))
    draft = _Draft(np.zeros(width), np.ones(width), np.ones(width, dtype=np.int64), np.zeros(width), [])
    noise = math.sqrt(num_sites * spec.variance)
    for part in layout.parts:
        if isinstance(part, NumberPart):
            _prepare_number(draft, part, counts[part.counts], spec=spec, noise=noise)
        else:
            _prepare_levels(draft, part, counts[part.counts], spec=spec, noise=noise)
    return PreparedFeatures(
        centre=tuple(draft.centre.tolist()),
        spread=tuple(draft.spread.tolist()),
        keep=tuple(1 if kept else 0 for kept in draft.keep),
        limit=spec.limit,
        rank_error=tuple(draft.rank_error.tolist()),
        notices=tuple(draft.notices),
    )


def rank_deviation(spec: PreparationSpec, *, num_sites: int, fraction: float = 0.05) -> float:
    """Standard deviation, in patients, of the rank of a quantile: what decides whether preparation is worth its price."""
    return math.sqrt(rank_variance(spec.tree, fraction) * num_sites * spec.variance)


def _prepare_number(
    draft: _Draft, part: NumberPart, counts: FloatArray, *, spec: PreparationSpec, noise: float
) -> None:
    ranks = Ranks.of(spec.tree.consistent_leaves(counts), edges=part.edges)
    deviation = noise * math.sqrt(rank_variance(spec.tree, spec.low))
    error = deviation / ranks.total if ranks.total > 0 else math.inf
    if error * _SURE > _NEAREST:
        draft.notices.append(
            f"{part.name}: keeps its public range: quantiles would be uncertain by {deviation:.0f} of about "
            f"{ranks.total:.0f} patients"
        )
        return
    low, high = max(spec.low, _SURE * error), min(spec.high, 1.0 - _SURE * error)
    if (low, high) != (spec.low, spec.high):
        draft.notices.append(
            f"{part.name}: spread from the quantiles {low:.3g} and {high:.3g} instead of {spec.low:g} and {spec.high:g}, "
            f"which the noise would hide"
        )
    bottom, median, top = ranks.quantiles(np.array([low, 0.5, high]))
    normal = NormalDist()
    stretch = (normal.inv_cdf(spec.high) - normal.inv_cdf(spec.low)) / (normal.inv_cdf(high) - normal.inv_cdf(low))
    leaf = int(part.leaves(np.array([median]))[0])
    finest = max(
        float(part.edges[leaf + 1] - part.edges[leaf]), _FINEST * max(1.0, *np.abs(part.edges[[0, -1]]).tolist())
    )
    if top - bottom <= finest:
        draft.notices.append(f"{part.name}: nearly all patients have one value; the spread is the finest possible")
    draft.centre[part.column] = _mean(ranks, bottom, top) if spec.centre == "mean" else median
    draft.spread[part.column] = max(stretch * (top - bottom) / 2.0, finest)
    draft.rank_error[part.column] = error


def _mean(ranks: Ranks, bottom: float, top: float) -> float:
    """Mean of the values moved into [bottom, top]: the integral of the quantile function."""
    fractions = (np.arange(_MEAN_POINTS) + 0.5) / _MEAN_POINTS
    return float(np.clip(ranks.quantiles(fractions), bottom, top).mean())


def _prepare_levels(
    draft: _Draft, part: LevelsPart, counts: FloatArray, *, spec: PreparationSpec, noise: float
) -> None:
    if _VOCABULARY_SURE * noise > spec.vocabulary_threshold:
        draft.notices.append(
            f"{part.name}: keeps all levels: a threshold of {spec.vocabulary_threshold} patients is within the noise "
            f"(standard deviation {noise:.0f})"
        )
        return
    draft.keep[part.columns] = counts >= spec.vocabulary_threshold
