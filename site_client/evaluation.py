"""A model's scores on a site's patients, and their additive summary."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from federation.models.losses import scores
from federation.models.metrics import MetricSums, metric_sums
from federation.models.task_terms import Objective
from site_client.patients import PatientDataset

_RECORDS: Final = 256
"""Records of every pass, filled up with zeros: the last bits of a score must not depend on the number of other records."""


def predict(model: nn.Module, dataset: PatientDataset, *, task: Objective) -> NDArray[np.float32]:
    """What the model says about each record. Stays at the site.

    Args:
        model: Used in evaluation mode; its own mode is restored.
        dataset: Encoded records; may be empty.
        task: Sets the meaning of the scores.

    Returns:
        Probability of outcome 1 ``[R]``, class probabilities ``[R, K]``, or the prediction in scaled units ``[R]``.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            # An empty data set still goes through once, so that its scores have the right shape.
            parts = [
                scores(task, model(_one_pass(dataset.features[start : start + _RECORDS]))).numpy()
                for start in range(0, max(1, dataset.num_records), _RECORDS)
            ]
    finally:
        model.train(was_training)
    return np.concatenate(parts)[: dataset.num_records].astype(np.float32)


def _one_pass(features: NDArray[np.float32]) -> torch.Tensor:
    """``[_RECORDS, F]``: the records, and zeros after them."""
    filled = torch.zeros((_RECORDS, features.shape[1]))
    filled[: len(features)] = torch.tensor(features)
    return filled


def evaluate(model: nn.Module, dataset: PatientDataset, *, task: Objective, score_bins: int) -> MetricSums:
    """Additive performance over the data set's records.

    Args:
        model: See :func:`predict`.
        dataset: Encoded records; an empty one gives sums of zero.
        task: Binary, multiclass or regression (then in scaled units).
        score_bins: Bins of the score histogram.

    Raises:
        InvalidInputError: If a score is not finite.
    """
    return metric_sums(task, predict(model, dataset, task=task), dataset.outcomes, score_bins=score_bins)
