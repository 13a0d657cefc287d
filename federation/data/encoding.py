"""From values in the contract's terms to numbers a model can use, with public facts only.

Nothing here is fitted: location and scale come from the contract's plausible range, or from its public reference, so
encoding costs no privacy and is the same at every site.

==============  ======================================================================
kind            features
==============  ======================================================================
continuous,     one; the plausible range mapped to [-1, 1], or ``(x - mean) / standard
integer         deviation`` of the contract's public reference
binary          one; 0 or 1
categorical     one per level but the first; 0 or 1
ordinal         one; levels equally spaced in [-1, 1]
==============  ======================================================================

A variable imputed with ``indicator: true`` is followed by ``<name>?missing``, 1 where the value was missing.

Axis names: R records, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import (
    Binary,
    Categorical,
    Continuous,
    DataContract,
    ImputeMissing,
    Integer,
    Ordinal,
    Variable,
)
from federation.errors import InternalError
from federation.identifiers import TaskKind
from federation.models.task_terms import DiscreteTimeTerms, Objective, QuantileTerms

FloatArray = NDArray[np.float64]


def feature_names(contract: DataContract) -> tuple[str, ...]:
    """Names of the encoded features, in order: ``age``, ``cp=atypical``, ``chol?missing``.

    The first level of a categorical variable is the reference and has no feature.
    """
    return tuple(name for variable in contract.variables for name in _names(variable))


def num_outputs(contract: DataContract, task: Objective) -> int:
    """Width of the model's output: levels for multiclass and quantiles, intervals of discrete time, 1 for all others."""
    outcome = contract.outcome
    match task:
        case "multiclass" if isinstance(outcome, Categorical | Ordinal):
            return len(outcome.levels)
        case QuantileTerms():
            return len(task.levels)
        case DiscreteTimeTerms():
            return len(task.edges)
        case _:
            return 1


def encode_features(contract: DataContract, values: Mapping[str, FloatArray]) -> NDArray[np.float32]:
    """Encode the contract's variables.

    Args:
        contract: Supplies kinds, ranges, levels, references and imputed constants.
        values: Variable name to ``[R]`` float64 in the contract's unit; 0 or 1 for binary variables, level index for
            coded ones. NaN is missing, and allowed only where the contract imputes.

    Returns:
        ``[R, F]`` float32, F as in :func:`feature_names`. Features are in [-1, 1] unless the variable has a reference.

    Raises:
        InternalError: A variable is absent, columns differ in length, or a missing value was not resolved before.
    """
    columns = [column for variable in contract.variables for column in _encode(variable, _column(variable, values))]
    if len({len(column) for column in columns}) > 1:
        raise InternalError(f"expected columns of one length, got {sorted({len(column) for column in columns})}")
    return np.stack(columns, axis=1).astype(np.float32)


def encode_outcome(contract: DataContract, task: TaskKind, values: FloatArray) -> NDArray[np.float32]:
    """Encode the outcome: 0 or 1, the class index, the count, or (regression, quantile) scaled like a continuous feature.

    Outcomes in time are encoded by :func:`federation.data.survival.encode_times`.

    Args:
        contract: Supplies the outcome.
        task: What is learned.
        values: ``[R]`` float64 in the contract's terms, none missing.

    Returns:
        ``[R]`` float32.

    Raises:
        InternalError: The outcome does not fit the task, or a value is missing.
    """
    if np.isnan(values).any():
        raise InternalError(f"expected outcomes {contract.outcome.name} without missing values, got NaN")
    if task not in {"regression", "quantile"}:
        return values.astype(np.float32)
    location, scale = _scale(_regression_outcome(contract))
    return ((values - location) / scale).astype(np.float32)


def decode_outcome(contract: DataContract, scaled: NDArray[np.float32] | FloatArray) -> FloatArray:
    """Undo the scaling of :func:`encode_outcome` in a regression, of quantiles too.

    Args:
        contract: Supplies the outcome's range and unit.
        scaled: ``[R]`` or ``[R, K]`` predictions or outcomes on the scale of training.

    Returns:
        The same shape, float64 in the contract's unit.

    Raises:
        InternalError: The outcome is not a number.
    """
    location, scale = _scale(_regression_outcome(contract))
    return np.asarray(scaled, dtype=np.float64) * scale + location


def _regression_outcome(contract: DataContract) -> Continuous | Integer:
    outcome = contract.outcome
    if not isinstance(outcome, Continuous | Integer):
        raise InternalError(f"expected a continuous or integer outcome in a regression, got kind {outcome.kind!r}")
    return outcome


def _names(variable: Variable) -> list[str]:
    names = [variable.name]
    if isinstance(variable, Categorical):
        names = [f"{variable.name}={level}" for level in variable.levels[1:]]
    if _has_indicator(variable):
        names.append(f"{variable.name}?missing")
    return names


def _has_indicator(variable: Variable) -> bool:
    return isinstance(variable.missing, ImputeMissing) and variable.missing.indicator


def _column(variable: Variable, values: Mapping[str, FloatArray]) -> FloatArray:
    if variable.name not in values:
        raise InternalError(f"expected a column for every variable, got none for {variable.name!r}")
    return np.asarray(values[variable.name], dtype=np.float64)


def _encode(variable: Variable, column: FloatArray) -> list[FloatArray]:
    missing = np.isnan(column)
    if isinstance(variable.missing, ImputeMissing):
        column = np.where(missing, imputed_value(variable, variable.missing), column)
    elif missing.any():
        raise InternalError(f"expected missing values of {variable.name} to be resolved before encoding, got NaN")
    features = _encode_present(variable, column)
    return [*features, missing.astype(np.float64)] if _has_indicator(variable) else features


def imputed_value(variable: Variable, rule: ImputeMissing) -> float:
    """The imputed constant in the terms of a record: a number, 0 or 1, or the index of a level."""
    if isinstance(variable, Categorical | Ordinal):
        return float(variable.levels.index(str(rule.value)))
    return float(rule.value)


def _encode_present(variable: Variable, column: FloatArray) -> list[FloatArray]:
    match variable:
        case Continuous() | Integer():
            location, scale = _scale(variable)
            return [(column - location) / scale]
        case Binary():
            return [column]
        case Categorical():
            return [(column == index).astype(np.float64) for index in range(1, len(variable.levels))]
        case Ordinal():
            return [2.0 * column / (len(variable.levels) - 1) - 1.0]
        case _:
            assert_never(variable)


def _scale(variable: Continuous | Integer) -> tuple[float, float]:
    if variable.reference is not None:
        return variable.reference.mean, variable.reference.standard_deviation
    return (variable.minimum + variable.maximum) / 2, (variable.maximum - variable.minimum) / 2
