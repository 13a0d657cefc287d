"""DP-SGD as one would explain it: loops over steps, patients and records, in double precision, without Opacus.

Slow and obvious on purpose. It shares with the code under test only the draws and the noise vectors, which are given.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from federation.models.task_terms import DiscreteTimeTerms, Objective, QuantileTerms
from federation.privacy.promise import MechanismSpec
from site_client.patients import PatientDataset


def record_loss(task: Objective, output: torch.Tensor, outcome: float) -> torch.Tensor:
    """Loss of one record, from its definition."""
    if task == "binary":
        return torch.log(1 + torch.exp(-output[0] if outcome > 0.5 else output[0]))
    if task == "multiclass":
        return torch.log(torch.exp(output).sum()) - output[int(outcome)]
    if task == "regression":
        return (output[0] - outcome) ** 2
    if task == "count":
        return torch.exp(output[0]) - outcome * output[0]
    if isinstance(task, QuantileTerms):
        losses = [
            level * (outcome - said) if outcome > said else (1 - level) * (said - outcome)
            for level, said in zip(task.levels, output, strict=True)
        ]
        return torch.stack(losses).sum()
    return follow_up_loss(task, output, abs(outcome) - 1, died=outcome > 0)


def follow_up_loss(terms: DiscreteTimeTerms, output: torch.Tensor, time: float, *, died: bool) -> torch.Tensor:
    """Interval after interval: lived through, or died in, or left in, which says nothing about it."""
    loss = torch.zeros((), dtype=torch.float64)
    for edge, said in zip(terms.edges, output, strict=True):
        log_kept = -torch.exp(said) if terms.hazard == "cloglog" else -torch.log(1 + torch.exp(said))
        if time >= edge:
            loss = loss - log_kept
            continue
        return loss - torch.log(-torch.expm1(log_kept)) if died else loss + 0 * said
    return loss


def record_gradient(model: nn.Module, features: np.ndarray, outcome: float, task: Objective) -> np.ndarray:
    """Gradient of one record's loss, ``[D]``."""
    model.zero_grad()
    output = model(torch.tensor(features, dtype=torch.float64).reshape(1, -1))[0]
    record_loss(task, output, outcome).backward()
    return np.concatenate([parameter.grad.numpy().reshape(-1).copy() for parameter in model.parameters()])


def patient_contribution(
    model: nn.Module, dataset: PatientDataset, patient: int, task: Objective, norm: float
) -> np.ndarray:
    """One patient's records' gradients, added, clipped, cut to the grid of norm / 2**24."""
    total = 0.0
    for row in range(dataset.num_records):
        if dataset.patient_index[row] == patient:
            total = total + record_gradient(model, dataset.features[row], float(dataset.outcomes[row]), task)
    length = float(np.sqrt(np.sum(total * total)))
    if length > norm:
        total = total / length * norm
    step = norm / 2**24
    return np.array([int(value / step) * step for value in total])


def slow_dp_sgd(
    model: nn.Module,
    dataset: PatientDataset,
    *,
    task: Objective,
    mechanism: MechanismSpec,
    learning_rate: float,
    draws: Sequence[Sequence[int]],
    noises: Sequence[np.ndarray],
) -> np.ndarray:
    """Parameters after one plain gradient step for each draw and noise vector (in units of the gradient)."""
    working = copy.deepcopy(model).double()
    for drawn, noise in zip(draws, noises, strict=True):
        total = np.zeros(len(noise))
        for patient in drawn:
            total = total + patient_contribution(working, dataset, patient, task, mechanism.clipping_norm)
        gradient = (total + noise) / mechanism.divisor
        start = 0
        with torch.no_grad():
            for parameter in working.parameters():
                part = gradient[start : start + parameter.numel()].reshape(tuple(parameter.shape))
                parameter.sub_(learning_rate * torch.tensor(part))
                start += parameter.numel()
    return np.concatenate([parameter.detach().numpy().reshape(-1) for parameter in working.parameters()])
