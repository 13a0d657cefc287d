"""What a record costs, and what a model says about it, for each task.

Axis names: R records, K outputs (1, or the number of classes, levels or intervals).
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from federation.errors import InternalError
from federation.models.count_loss import count_gradients, count_losses, expected_counts
from federation.models.quantile_loss import quantile_gradients, quantile_losses
from federation.models.survival_loss import (
    cox_loss,
    discrete_time_gradients,
    discrete_time_losses,
    survival_probabilities,
)
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, Objective, QuantileTerms, task_of


def record_losses(task: Objective, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """Loss of each record: binary cross entropy, cross entropy, squared error, Poisson, pinball or discrete-time likelihood.

    Args:
        task: What is learned.
        outputs: ``[R, K]``, the model's outputs (logits, logits, scaled prediction, log rate, scaled quantiles, hazards).
        outcomes: ``[R]`` float: 0 or 1, a class index, the scaled outcome, a count, or an encoded time.

    Returns:
        ``[R]``, in nats, squared scaled units (regression) or scaled units (quantile).

    Raises:
        InternalError: If the shapes do not fit, or the loss is one of a batch (Cox).
    """
    _check_shapes(task, outputs, outcomes)
    match task:
        case "binary":
            return functional.binary_cross_entropy_with_logits(outputs[:, 0], outcomes, reduction="none")
        case "multiclass":
            return functional.cross_entropy(outputs, outcomes.long(), reduction="none")
        case "regression":
            return functional.mse_loss(outputs[:, 0], outcomes, reduction="none")
        case "count":
            return count_losses(outputs, outcomes)
        case QuantileTerms():
            return quantile_losses(task, outputs, outcomes)
        case DiscreteTimeTerms():
            return discrete_time_losses(task, outputs, outcomes)
        case CoxTerms():
            raise _mixing()
        case _:
            assert_never(task)


def batch_loss(task: Objective, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """The mean of :func:`record_losses`, or the one loss of a batch that mixes its records (Cox).

    Args:
        task: What is learned.
        outputs: ``[R, K]``.
        outcomes: ``[R]``.

    Raises:
        InternalError: If the shapes do not fit.
    """
    if isinstance(task, CoxTerms):
        _check_shapes(task, outputs, outcomes)
        return cox_loss(outputs, outcomes)
    return record_losses(task, outputs, outcomes).mean()


def record_loss_gradients(task: Objective, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """What :func:`record_losses` gives each record, differentiated by its outputs.

    Args:
        task: What is learned.
        outputs: ``[..., K]``.
        outcomes: ``[...]`` float, as in :func:`record_losses`.

    Returns:
        ``[..., K]``.

    Raises:
        InternalError: If the loss is one of a batch (Cox).
    """
    match task:
        case "binary":
            return torch.sigmoid(outputs) - outcomes.unsqueeze(-1)
        case "multiclass":
            chosen = functional.one_hot(outcomes.long(), outputs.shape[-1])
            return torch.softmax(outputs, dim=-1) - chosen
        case "regression":
            return 2 * (outputs - outcomes.unsqueeze(-1))
        case "count":
            return count_gradients(outputs, outcomes)
        case QuantileTerms():
            return quantile_gradients(task, outputs, outcomes)
        case DiscreteTimeTerms():
            return discrete_time_gradients(task, outputs, outcomes)
        case CoxTerms():
            raise _mixing()
        case _:
            assert_never(task)


def scores(task: Objective, outputs: Tensor) -> Tensor:
    """What the model says.

    Args:
        task: What is learned.
        outputs: ``[R, K]``.

    Returns:
        Probability of outcome 1 ``[R]``, class probabilities ``[R, K]``, the prediction in scaled units ``[R]``, the expected count
        ``[R]``, quantiles in scaled units ``[R, K]``, probabilities to be event-free at each edge ``[R, K]``, or log relative
        hazards ``[R]`` (Cox).
    """
    match task:
        case "binary":
            return torch.sigmoid(outputs[:, 0])
        case "multiclass":
            return torch.softmax(outputs, dim=1)
        case "regression" | CoxTerms():
            return outputs[:, 0]
        case "count":
            return expected_counts(outputs)
        case QuantileTerms():
            return outputs
        case DiscreteTimeTerms():
            return survival_probabilities(task, outputs)
        case _:
            assert_never(task)


def fits_outputs(task: Objective, number: int) -> bool:
    """Whether a network of so many outputs fits the task."""
    match task:
        case "multiclass":
            return number >= 2  # noqa: PLR2004 - two classes
        case QuantileTerms():
            return number == len(task.levels)
        case DiscreteTimeTerms():
            return number == len(task.edges)
        case _:
            return number == 1


def _check_shapes(task: Objective, outputs: Tensor, outcomes: Tensor) -> None:
    fits = outputs.ndim == 2 and outcomes.shape == outputs.shape[:1]  # noqa: PLR2004 - records and outputs
    if not fits or (task != "multiclass" and not fits_outputs(task, outputs.shape[1])):
        raise InternalError(
            f"expected outputs [R, K] and outcomes [R] for task {task_of(task)!r}, got {tuple(outputs.shape)} and "
            f"{tuple(outcomes.shape)}"
        )


def _mixing() -> InternalError:
    return InternalError("expected a loss of single records, got Cox' partial likelihood, which is one of a batch")
