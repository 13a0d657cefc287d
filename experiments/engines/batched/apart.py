"""Patients whose records' gradients all but cancel each other: clipped through Opacus, one by one, as at a site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from experiments.engines.batched.private import Apart
from experiments.engines.batched.stacking import IndexArray, Stack
from federation.models.parameters import load
from federation.models.task_terms import Objective
from federation.privacy.summation import room_for_rounding
from site_client.dp_step import PatientGradients
from site_client.patients import PatientDataset


def clipping_by_opacus(
    module: nn.Module,
    datasets: Sequence[PatientDataset],
    stack: Stack,
    *,
    task: Objective,
    clipping_norm: float,
    grid_bits: int,
) -> Apart:
    """What clips one patient.

    Args:
        module: The study's network; its values are overwritten.
        datasets: Of the sites of a block.
        stack: The same records.
        task: Sets the loss.
        clipping_norm: Promised, of one patient.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
    """
    size = sum(parameter.numel() for parameter in module.parameters())
    room = room_for_rounding(size, grid_bits=grid_bits)

    def clipped(site: int, rows: IndexArray, theta: Tensor) -> Tensor:
        data, own = datasets[site], rows - stack.sites[site].start
        patient = PatientDataset(
            data.features[own], data.outcomes[own], np.zeros(len(own), dtype=np.int64), data.feature_names
        )
        load(module, theta.cpu().numpy())
        with PatientGradients(module, patient, task=task, grid_bits=grid_bits, room=room) as gradients:
            return torch.from_numpy(gradients.clipped_sum(np.zeros(1, dtype=np.int64), clipping_norm=clipping_norm))

    return clipped
