"""Outcomes of synthetic patients, drawn from a true model.

Axis names: R records.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import expit, softmax

from experiments.predictions import FloatArray
from experiments.true_model import TrueModel
from federation.data.contract import Continuous, DataContract, Integer, TimeToEvent
from federation.data.encoding import decode_outcome
from federation.errors import InternalError

_EFFECT: Final = 0.4
"""Of the linear predictor on the logarithm of a count or of a hazard: one standard deviation is then a factor of about 1.8."""
_COMMON: Final = 0.1
"""A count at the predictor 0, as a part of the outcome's range."""
_MEDIAN: Final = 0.6
"""Median time to the event at the predictor 0, as a part of the outcome's maximum."""


def draw_outcomes(
    contract: DataContract, predictor: FloatArray, *, model: TrueModel, generator: np.random.Generator
) -> dict[str, FloatArray]:
    """Draw outcomes from a true model.

    Args:
        contract: Says what the outcome is.
        predictor: ``[R, K]`` linear predictor of the true model.
        model: The true model.
        generator: A stream of its own.

    Returns:
        Column name to ``[R]`` in the contract's terms; of an outcome in time, time and event (and entry, at 0).
    """
    outcome, number = contract.outcome, len(predictor)
    match model.task:
        case "binary":
            values = (generator.random(number) < expit(predictor[:, 0])).astype(np.float64)
        case "multiclass":
            below = np.cumsum(softmax(predictor, axis=1), axis=1)
            chosen = (generator.random((number, 1)) > below).sum(axis=1)
            values = np.minimum(chosen, predictor.shape[1] - 1).astype(np.float64)
        case "regression" | "quantile":
            scaled = predictor[:, 0] + model.residual * generator.standard_normal(number)
            values = _within(contract, decode_outcome(contract, scaled))
        case "count":
            top = outcome.maximum if isinstance(outcome, Integer) else 1.0
            drawn = generator.poisson(_COMMON * top * np.exp(_EFFECT * predictor[:, 0]))
            values = _within(contract, drawn.astype(np.float64))
        case "survival":
            return _times(contract, predictor[:, 0], generator)
        case "segmentation":
            raise InternalError("expected a task with a linear truth, got 'segmentation'")
    return {outcome.name: values}


def _within(contract: DataContract, numbers: FloatArray) -> FloatArray:
    outcome = contract.outcome
    if isinstance(outcome, Continuous | Integer):
        numbers = np.clip(numbers, outcome.minimum, outcome.maximum)
    return np.rint(numbers) if isinstance(outcome, Integer) else numbers


def _times(contract: DataContract, predictor: FloatArray, generator: np.random.Generator) -> dict[str, FloatArray]:
    """Exponential times with proportional hazards; follow-up ends evenly over the range, and for all at its end."""
    outcome = contract.outcome
    if not isinstance(outcome, TimeToEvent):
        raise InternalError(f"expected an outcome in time, got kind {outcome.kind!r}")
    rate = np.log(2) / (_MEDIAN * outcome.maximum) * np.exp(_EFFECT * predictor)
    event = generator.exponential(1 / rate)
    end = np.minimum(generator.uniform(0.1, 1.3, len(rate)) * outcome.maximum, outcome.maximum)
    entry = {} if outcome.entry is None else {outcome.entry: np.zeros(len(rate))}
    return {outcome.name: np.minimum(event, end), outcome.event: (event <= end).astype(np.float64), **entry}
