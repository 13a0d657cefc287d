"""Which way the clipped gradients of a private step are made: stacked kernels where they cover the network, else Opacus.

The choice follows from public things alone: the network, the grid and the declared number of patients.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from federation.models.parameters import flatten
from federation.models.stacked.network import StackedNetwork, stacked_network
from federation.models.task_terms import Objective
from federation.privacy.clipping import GRID_BITS, FloatArray
from federation.privacy.promise import MechanismSpec
from federation.privacy.summation import leaves_room
from site_client.dp_step import PatientGradients, physical_records
from site_client.kernel_step import KernelGradients, pass_length, whole_pass
from site_client.patients import IndexArray, PatientDataset
from site_client.row_order import DRAWN, Measured, architecture, check_row_order, drawn_dataset, drawn_model

_MOST_DECLARED: Final = 2**21
"""Declared patients up to which a site's records are far below what sums are known to be right for."""


class ClippedSums(Protocol):
    """What gives the clipped sums of drawn patients."""

    def clipped_sum(self, patients: IndexArray, *, clipping_norm: float) -> FloatArray:
        """``[D]`` whole grid steps; zero if nobody was drawn."""
        ...


@contextmanager
def patient_gradients(
    model: nn.Module,
    dataset: PatientDataset,
    *,
    task: Objective,
    mechanism: MechanismSpec,
    grid_bits: int = GRID_BITS,
    network: StackedNetwork | None = None,
    theta: Tensor | None = None,
    pass_records: int | None = None,
) -> Generator[ClippedSums]:
    """Clipped gradients of one model on one data set, at the model's values of every moment.

    Args:
        model: Covered by the kernels or not.
        dataset: The site's training patients.
        task: Sets the loss.
        mechanism: Its public divisor says how many patients a step expects.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
        network: The model stacked, where that was done already.
        theta: ``[D]`` float32 that the model's parameters are views of; a sum is then the caller's until the next one only.
            ``None``: the values of now are copied, and stay.
        pass_records: Records that go through the network at once, a public number; ``None``: about as many as are drawn,
            if memory holds them.
    """
    network = _covering(network or stacked_network(model), task=task, mechanism=mechanism, grid_bits=grid_bits)
    if network is None:
        length = math.ceil(mechanism.divisor) if pass_records is None else pass_records
        _check_hooked(model, dataset, task=task, pass_records=length)
        with PatientGradients(model, dataset, task=task, pass_records=length, grid_bits=grid_bits) as gradients:
            yield gradients
        return
    lends_sums = theta is not None
    if theta is None:
        theta = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])
    if pass_records is None:
        pass_records = pass_length(math.ceil(mechanism.divisor), network, dataset.features.shape[1])
    _check_kernels(model, network, dataset, task=task, length=whole_pass(pass_records))
    yield KernelGradients(
        model,
        network,
        theta.unsqueeze(0),
        dataset,
        task=task,
        pass_records=pass_records,
        grid_bits=grid_bits,
        lends_sums=lends_sums,
    )


def check_rows(model: nn.Module, dataset: PatientDataset, *, task: Objective, mechanism: MechanismSpec) -> None:
    """Try what private steps will compute on this machine, before anything is charged for them.

    Args:
        model: Its values do not matter.
        dataset: Sets the number of features; no value is looked at.
        task: Sets the loss.
        mechanism: Sets the length of a pass.

    Raises:
        PrivacyRefusedError: If it shows where in a pass a record lies, see :mod:`site_client.row_order`.
    """
    network = _covering(stacked_network(model), task=task, mechanism=mechanism, grid_bits=GRID_BITS)
    if network is None:
        _check_hooked(model, dataset, task=task, pass_records=math.ceil(mechanism.divisor))
        return
    length = whole_pass(pass_length(math.ceil(mechanism.divisor), network, dataset.features.shape[1]))
    _check_kernels(model, network, dataset, task=task, length=length)


def _covering(
    network: StackedNetwork | None, *, task: Objective, mechanism: MechanismSpec, grid_bits: int
) -> StackedNetwork | None:
    """The network, if the kernels may take it: they know one outcome a record."""
    declared = mechanism.divisor / mechanism.sampling_probability
    if network is None or task == "segmentation" or declared > _MOST_DECLARED:
        return None
    return network if leaves_room(network.num_parameters, grid_bits=grid_bits) else None


def _check_kernels(
    model: nn.Module, network: StackedNetwork, dataset: PatientDataset, *, task: Objective, length: int
) -> None:
    """See :mod:`site_client.row_order`."""

    def measured() -> Measured:
        theta = torch.from_numpy(flatten(drawn_model(model))).unsqueeze(0)
        drawn = drawn_dataset(dataset, task=task)
        tried = KernelGradients(model, network, theta, drawn, task=task, pass_records=length)
        return lambda rows: tried.record_norms(rows % DRAWN)

    case = ("kernels", network, dataset.features.shape[1], task)
    check_row_order(measured, length=length, case=case)


def _check_hooked(model: nn.Module, dataset: PatientDataset, *, task: Objective, pass_records: int) -> None:
    """See :mod:`site_client.row_order`."""
    length = physical_records(sum(parameter.numel() for parameter in model.parameters()), pass_records)

    def measured() -> Measured:
        tried = PatientGradients(
            drawn_model(model), drawn_dataset(dataset, task=task), task=task, pass_records=pass_records
        )
        return lambda rows: tried.record_norms(rows % DRAWN)

    case = ("Opacus", architecture(model), dataset.features.shape[1], task)
    check_row_order(measured, length=length, case=case)
