"""What a record costs, and what a model says about it, for each task.

Axis names: R records, K outputs (1, or the number of classes).
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from federation.errors import InternalError
from federation.identifiers import TaskKind
from federation.models import segmentation


def record_losses(task: TaskKind, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """Loss of each record: binary cross entropy, cross entropy or squared error.

    Args:
        task: Binary, multiclass or regression.
        outputs: ``[R, K]``, the model's outputs (logits, logits, scaled prediction).
        outcomes: ``[R]`` float: 0 or 1, a class index, or the scaled outcome.

    Returns:
        ``[R]``, in nats (binary, multiclass) or squared scaled units.

    Raises:
        InternalError: If the shapes do not fit.
    """
    _check_shapes(task, outputs, outcomes)
    match task:
        case "binary":
            return functional.binary_cross_entropy_with_logits(outputs[:, 0], outcomes, reduction="none")
        case "multiclass":
            return functional.cross_entropy(outputs, outcomes.long(), reduction="none")
        case "regression":
            return functional.mse_loss(outputs[:, 0], outcomes, reduction="none")
        case "segmentation":
            return segmentation.losses(outputs, outcomes)
        case _:
            assert_never(task)


def record_loss_gradients(task: TaskKind, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """What :func:`record_losses` gives each record, differentiated by its outputs.

    Args:
        task: Binary, multiclass or regression.
        outputs: ``[..., K]``.
        outcomes: ``[...]`` float: 0 or 1, a class index, or the scaled outcome.

    Returns:
        ``[..., K]``.
    """
    match task:
        case "binary":
            return torch.sigmoid(outputs) - outcomes.unsqueeze(-1)
        case "multiclass":
            chosen = functional.one_hot(outcomes.long(), outputs.shape[-1])
            return torch.softmax(outputs, dim=-1) - chosen
        case "regression":
            return 2 * (outputs - outcomes.unsqueeze(-1))
        case "segmentation":
            raise InternalError("expected a task that the kernels cover, got 'segmentation'")
        case _:
            assert_never(task)


def scores(task: TaskKind, outputs: Tensor) -> Tensor:
    """What the model says.

    Args:
        task: Binary, multiclass or regression.
        outputs: ``[R, K]``.

    Returns:
        Probability of outcome 1 ``[R]``, class probabilities ``[R, K]``, or the prediction in scaled units ``[R]``.
    """
    match task:
        case "binary":
            return torch.sigmoid(outputs[:, 0])
        case "multiclass":
            return torch.softmax(outputs, dim=1)
        case "regression":
            return outputs[:, 0]
        case "segmentation":
            return torch.sigmoid(outputs)
        case _:
            assert_never(task)


def _check_shapes(task: TaskKind, outputs: Tensor, outcomes: Tensor) -> None:
    of_pixels = task == "segmentation"
    wanted = outputs.shape if of_pixels else outputs.shape[:1]
    fits = outputs.ndim == 2 and outcomes.shape == wanted  # noqa: PLR2004 - records and outputs
    if not fits or (task != "multiclass" and not of_pixels and outputs.shape[1] != 1):
        raise InternalError(
            f"expected outputs [R, K] and outcomes [R] for task {task!r}, got {tuple(outputs.shape)} and "
            f"{tuple(outcomes.shape)}"
        )
