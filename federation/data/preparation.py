"""Paid preparation: what a study counts once, with noise, before its first round, and in which order.

A contract's public range can be far wider than its patients; encoded by it, their features hardly differ and nothing is
learned. A study may therefore pay for quantiles of its numbers and counts of its levels: every site answers one vector of whole
numbers with discrete Gaussian noise, which is charged once. What is made of the sum of these vectors
(:mod:`federation.data.prepared_features`) is public post-processing.

Each patient counts with one record. Squared L2 sensitivity: ``levels`` for every number (one count on each level of its tree) and
1 for every categorical variable (one level, or none).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from federation.data.contract import Categorical, Continuous, DataContract, Integer
from federation.data.encoding import (
    _scale,  # pyright: ignore[reportPrivateUsage] - of this package; one formula for the scale of a number
    feature_names,
)
from federation.data.quantile_tree import TreeShape
from federation.documents import Document
from federation.errors import ManifestError
from federation.identifiers import VariableName
from federation.privacy.discrete import LARGEST_VARIANCE
from federation.privacy.events import DiscreteGaussian

FloatArray = NDArray[np.float64]

_OCTAVES: Final = 17
"""A geometric grid is even within range / 2**17 of its anchor: encoded features are float32, finer leaves would tell nothing."""


class PreparationSpec(Document):
    """What is counted, with how much noise, and how the counts become a map of the features."""

    variance: Annotated[int, Field(ge=1, le=LARGEST_VARIANCE)]
    """Of the noise of one count at one site. Calibrated when the manifest is made."""
    quantiles_of: tuple[VariableName, ...] | None = None
    """Continuous and integer variables whose range is too wide; ``None``: all. Each makes all others noisier."""
    vocabulary_of: tuple[VariableName, ...] | None = ()
    """Categorical variables whose rare levels are merged with the reference level; ``None``: all."""
    levels: Annotated[int, Field(ge=1, le=16)] = 12
    """Of each number's tree: its range is divided into 2**levels leaves."""
    grid: Literal["geometric", "even"] = "geometric"
    """``geometric``: leaves are narrow near zero (or the bound nearest to it) and widen with the distance, 0.3 % of it with 12
    levels; ``even``: all leaves are range / 2**levels wide."""
    low: Annotated[float, Field(ge=0.005, le=0.25)] = 0.05
    high: Annotated[float, Field(ge=0.75, le=0.995)] = 0.95
    """The quantiles ``low`` and ``high`` of a variable become about -1 and 1."""
    centre: Literal["median", "mean"] = "median"
    """``mean``: of the values moved into the paid quantiles, from the same counts at no further charge."""
    limit: Annotated[float, Field(ge=1, le=1000)] = 4.0
    """Prepared features are cut at this magnitude."""
    vocabulary_threshold: Annotated[int, Field(ge=1)] = 20
    """A level with fewer patients over all sites, as far as the noise allows to tell, is merged with the reference level."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for key, names in (("quantiles_of", self.quantiles_of), ("vocabulary_of", self.vocabulary_of)):
            if names is not None and len(set(names)) != len(names):
                message = f"preparation.{key}: expected every variable once, got {list(names)}"
                raise ValueError(message)
        return self

    @property
    def tree(self) -> TreeShape:
        """Shape of each number's tree."""
        return TreeShape(self.levels)

    def event(self, contract: DataContract) -> DiscreteGaussian:
        """What one site's answer does to its patients.

        Raises:
            ManifestError: If the variables do not fit the contract.
        """
        return DiscreteGaussian(sensitivity_squared=sensitivity_squared(self, contract), variance=self.variance)


@dataclass(frozen=True)
class NumberPart:
    """The tree of one continuous or integer variable.

    Args:
        name: Of the variable.
        column: Of its feature.
        counts: Its place in the vector of counts.
        edges: ``[B + 1]`` increasing edges of the leaves, on the scale of the encoded feature; the first and the last are the
            contract's bounds.
    """

    name: str
    column: int
    counts: slice
    edges: FloatArray

    def leaves(self, encoded: FloatArray) -> NDArray[np.int64]:
        """``[N]`` leaf of each encoded value; values beyond the bounds are in the outermost leaves, NaN in the last."""
        return np.searchsorted(self.edges[1:-1], encoded, side="right").astype(np.int64)


@dataclass(frozen=True)
class LevelsPart:
    """The levels of one categorical variable but the first.

    Args:
        name: Of the variable.
        columns: Of its features.
        counts: Its place in the vector of counts, as long as ``columns``.
    """

    name: str
    columns: slice
    counts: slice


@dataclass(frozen=True)
class CountLayout:
    """Order of the vector of counts.

    Args:
        parts: First all numbers, then all categorical variables, each in the contract's order.
        size: D, its length.
        sensitivity_squared: Square of the largest L2 distance by which one patient moves it.
    """

    parts: tuple[NumberPart | LevelsPart, ...]
    size: int
    sensitivity_squared: int


def sensitivity_squared(spec: PreparationSpec, contract: DataContract) -> int:
    """Squared L2 sensitivity of the counts to adding or removing one patient.

    Raises:
        ManifestError: If the variables do not fit the contract.
    """
    numbers, categories = _counted(spec, contract)
    return spec.levels * len(numbers) + len(categories)


def count_layout(spec: PreparationSpec, contract: DataContract) -> CountLayout:
    """What each entry of the vector of counts means.

    Raises:
        ManifestError: If the variables do not fit the contract.
    """
    numbers, categories = _counted(spec, contract)
    names = feature_names(contract)
    parts: list[NumberPart | LevelsPart] = []
    size = 0
    for number in numbers:
        place = slice(size, size + spec.tree.num_nodes)
        parts.append(NumberPart(number.name, names.index(number.name), place, _edges(number, spec)))
        size = place.stop
    for category in categories:
        column, width = names.index(f"{category.name}={category.levels[1]}"), len(category.levels) - 1
        parts.append(LevelsPart(category.name, slice(column, column + width), slice(size, size + width)))
        size += width
    return CountLayout(tuple(parts), size, sensitivity_squared(spec, contract))


def _counted(spec: PreparationSpec, contract: DataContract) -> tuple[list[Continuous | Integer], list[Categorical]]:
    """The variables that are counted.

    Raises:
        ManifestError: If a name is not that of a variable of the right kind, or nothing is counted.
    """
    numbers = [variable for variable in contract.variables if isinstance(variable, Continuous | Integer)]
    categories = [variable for variable in contract.variables if isinstance(variable, Categorical)]
    for key, wanted, there in (
        ("quantiles_of", spec.quantiles_of, {variable.name for variable in numbers}),
        ("vocabulary_of", spec.vocabulary_of, {variable.name for variable in categories}),
    ):
        unknown = sorted(set(wanted or ()) - there)
        if unknown:
            kind = "continuous or integer" if key == "quantiles_of" else "categorical"
            raise ManifestError(
                f"preparation.{key}: expected {kind} variables of the contract, got {unknown}",
                remedy=f"use some of {sorted(there)}",
            )
    if spec.quantiles_of is not None:
        numbers = [variable for variable in numbers if variable.name in spec.quantiles_of]
    if spec.vocabulary_of is not None:
        categories = [variable for variable in categories if variable.name in spec.vocabulary_of]
    if not numbers and not categories:
        raise ManifestError(
            "preparation: expected at least one variable to count, got none", remedy="leave preparation out"
        )
    return numbers, categories


def _edges(variable: Continuous | Integer, spec: PreparationSpec) -> FloatArray:
    """``[B + 1]`` edges on the encoded scale, from public facts only."""
    location, scale = _scale(variable)
    start, end = (variable.minimum - location) / scale, (variable.maximum - location) / scale
    steps = np.linspace(0.0, 1.0, spec.tree.num_leaves + 1)
    if spec.grid == "even":
        return start + steps * (end - start)
    anchor = (min(max(0.0, variable.minimum), variable.maximum) - location) / scale
    unit = (end - start) / 2**_OCTAVES
    # asinh is even near the anchor and logarithmic far from it, on both sides.
    first, last = np.arcsinh((start - anchor) / unit), np.arcsinh((end - anchor) / unit)
    edges = anchor + unit * np.sinh(first + steps * (last - first))
    edges[0], edges[-1] = start, end
    return edges
