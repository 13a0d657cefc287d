"""The encoding of a contract as columns of numbers: what :mod:`federation.data.encoding` does, said without a loop.

Feature ``f`` reads variable ``column[f]`` and is one of: ``(value * times - minus) / over - then_minus``; 1 where the value is
``level``; 1 where the value is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import Categorical, Continuous, DataContract, ImputeMissing, Integer, Ordinal, Variable
from federation.data.encoding import feature_names, imputed_value
from federation.errors import InternalError


@dataclass(frozen=True)
class FeatureTable:
    """Vectors over V variables (``imputed``) and F features (all others).

    Attributes:
        imputed: What stands for a missing value; NaN: nothing may.
        column: Variable of each feature.
        times: See above.
        minus: See above.
        over: See above.
        then_minus: See above.
        level: Of a feature that asks for a level; -1 elsewhere.
        is_level: Whether the feature asks for a level.
        is_indicator: Whether the feature says that the value was missing.
    """

    imputed: NDArray[np.float64]
    column: NDArray[np.int64]
    times: NDArray[np.float64]
    minus: NDArray[np.float64]
    over: NDArray[np.float64]
    then_minus: NDArray[np.float64]
    level: NDArray[np.float64]
    is_level: NDArray[np.bool_]
    is_indicator: NDArray[np.bool_]


@dataclass(frozen=True)
class _Feature:
    column: int
    times: float = 1.0
    minus: float = 0.0
    over: float = 1.0
    then_minus: float = 0.0
    level: int = -1
    is_indicator: bool = False


def feature_table(contract: DataContract) -> FeatureTable:
    """The table of a contract's features, in their order."""
    features = [
        feature for column, variable in enumerate(contract.variables) for feature in _features(column, variable)
    ]
    if len(features) != len(feature_names(contract)):
        raise InternalError(f"expected {len(feature_names(contract))} features, got {len(features)}")

    def vector(name: str, kind: type[Any]) -> NDArray[Any]:
        return np.array([getattr(feature, name) for feature in features], dtype=kind)

    level = vector("level", np.float64)
    return FeatureTable(
        imputed=np.array([_imputed(variable) for variable in contract.variables]),
        column=vector("column", np.int64),
        times=vector("times", np.float64),
        minus=vector("minus", np.float64),
        over=vector("over", np.float64),
        then_minus=vector("then_minus", np.float64),
        level=level,
        is_level=level >= 0,
        is_indicator=vector("is_indicator", np.bool_),
    )


def _imputed(variable: Variable) -> float:
    return imputed_value(variable, variable.missing) if isinstance(variable.missing, ImputeMissing) else np.nan


def _features(column: int, variable: Variable) -> list[_Feature]:
    if isinstance(variable, Continuous | Integer):
        reference = variable.reference
        location = (variable.minimum + variable.maximum) / 2 if reference is None else reference.mean
        half = (variable.maximum - variable.minimum) / 2 if reference is None else reference.standard_deviation
        features = [_Feature(column, minus=location, over=half)]
    elif isinstance(variable, Categorical):
        features = [_Feature(column, level=level) for level in range(1, len(variable.levels))]
    elif isinstance(variable, Ordinal):
        features = [_Feature(column, times=2.0, over=float(len(variable.levels) - 1), then_minus=1.0)]
    else:
        features = [_Feature(column)]
    if isinstance(variable.missing, ImputeMissing) and variable.missing.indicator:
        features.append(_Feature(column, is_indicator=True))
    return features
