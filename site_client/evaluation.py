"""A model's scores on a site's patients, and their additive summary."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from federation.models.losses import scores
from federation.models.metrics import MetricSums, metric_sums
from federation.models.segmentation import agreement
from federation.models.task_terms import Objective
from site_client.arrays.streamed import StreamedRows
from site_client.patients import PatientDataset
from site_client.row_order import DRAWN, Measured, architecture, check_row_order, drawn_dataset, drawn_model

_RECORDS: Final = 256
"""Records of every pass, filled up with zeros: the last bits of a score must not depend on the number of other records."""
_FEWEST_RECORDS: Final = 32
"""A pass is a multiple of it: PyTorch's loops take two vectors of 16 numbers at once, and a rest singly with other last bits."""
_VALUES: Final = 2**20
"""Of a pass: wide records, such as large images, go through in shorter ones."""


def predict(model: nn.Module, dataset: PatientDataset, *, task: Objective) -> NDArray[np.float32]:
    """What the model says about each record. Stays at the site.

    Args:
        model: Used in evaluation mode; its own mode is restored.
        dataset: Encoded records; may be empty.
        task: Sets the meaning of the scores.

    Returns:
        Probability of outcome 1 ``[R]``, class probabilities ``[R, K]``, or the prediction in scaled units ``[R]``. In a
        segmentation ``[R, 4]``: how well each mask was found (:mod:`federation.models.segmentation`), not the masks.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            # An empty data set still goes through once, so that its scores have the right shape.
            length = _pass_length(dataset)
            parts = [
                _scores(model, dataset, task, slice(start, start + length))
                for start in range(0, max(1, dataset.num_records), length)
            ]
    finally:
        model.train(was_training)
    return np.concatenate(parts)[: dataset.num_records].astype(np.float32)


def _scores(model: nn.Module, dataset: PatientDataset, task: Objective, rows: slice) -> NDArray[np.float32]:
    length = _pass_length(dataset)
    said: torch.Tensor = model(_one_pass(dataset.features[rows], length))
    if task == "segmentation":
        return agreement(said, _one_pass(dataset.outcomes[rows], length)).numpy()
    return scores(task, said).numpy()


def _pass_length(dataset: PatientDataset) -> int:
    """Records of a pass: follows from the number of features alone."""
    fitting = _VALUES // dataset.features.shape[1] // _FEWEST_RECORDS * _FEWEST_RECORDS
    return min(_RECORDS, max(_FEWEST_RECORDS, fitting))


def _one_pass(features: NDArray[np.float32], length: int) -> torch.Tensor:
    """``[length, F]``: the records, and zeros after them."""
    filled = torch.zeros((length, features.shape[1]))
    filled[: len(features)] = torch.tensor(features)
    return filled


def check_scores(model: nn.Module, dataset: PatientDataset, *, task: Objective) -> None:
    """Refuse a machine on which a score depends on where in a pass its record lies.

    Args:
        model: Its values do not matter.
        dataset: Sets the length of a pass; no value is looked at.
        task: Sets the meaning of the scores.

    Raises:
        PrivacyRefusedError: See :mod:`site_client.row_order`.
    """
    length = _pass_length(dataset)

    def measured() -> Measured:
        tried, drawn = drawn_model(model), drawn_dataset(dataset, task=task)
        return lambda rows: predict(tried, drawn.in_order(rows % DRAWN), task=task)

    case = ("scores", architecture(model), dataset.features.shape[1], task)
    check_row_order(measured, length=length, case=case)


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
    outcomes = compared_outcomes(dataset)
    return metric_sums(task, predict(model, dataset, task=task), outcomes, score_bins=score_bins)


def compared_outcomes(dataset: PatientDataset) -> NDArray[np.float32]:
    """``[R]`` what scores are compared with; zeros in a segmentation, whose scores already say how well a mask was found."""
    if isinstance(dataset.outcomes, StreamedRows):
        return np.zeros(dataset.num_records, dtype=np.float32)
    return dataset.outcomes
