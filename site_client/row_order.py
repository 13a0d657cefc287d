"""Proof by experiment that this machine computes a record's numbers alike, wherever in a pass the record lies.

Passes of one public shape (:mod:`site_client.dp_step`) keep patients apart only if a matrix product treats all of its rows alike.
No library promises that, and Intel's does not keep it on AMD's processors unless it is told to (:mod:`federation`): a patient who
comes or goes would then move the others to places where the last bits of their gradients differ. So what a private step or a
paid evaluation computes is tried first, with drawn numbers in several orders, once in a process for every shape.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from federation.errors import PrivacyRefusedError
from federation.models.parameters import flatten, layout_of, load
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, Objective
from federation.privacy.randomness import public_streams
from site_client.patients import IndexArray, PatientDataset

_SPREAD: Final = 0.1
"""Of drawn parameters: layers of usual widths neither die out nor overflow. Zeros would hide every difference."""
DRAWN: Final = 32
"""Records that are drawn: with large ones, as many as a pass has would be as much memory as the pass."""
_FOUND_ALIKE: Final[set[Hashable]] = set()
"""Cases that this process has tried."""

Measured = Callable[[IndexArray], NDArray[np.floating]]
"""(row numbers ``[B]``, in the order of their places in a pass) to something of each, ``[B, ...]``."""


def check_row_order(measured: Callable[[], Measured], *, length: int, case: Hashable) -> None:
    """Refuse a computation in which a record's place in a pass shows.

    Args:
        measured: Makes what is tried; not called if the case was tried before.
        length: Records of a pass, B.
        case: Whatever the choice of kernels follows from.

    Raises:
        PrivacyRefusedError: If a record gives other bits in another place.
    """
    case = (case, length, torch.get_num_threads())
    if length == 1 or case in _FOUND_ALIKE:
        return
    measure, rows = measured(), np.arange(length - length % 2)
    first = measure(rows)
    # Neighbours stay together: two records of one patient may be computed as a pair.
    for moved in (np.roll(rows, 2), np.roll(rows, length // 4 * 2), rows.reshape(-1, 2)[::-1].reshape(-1)):
        if not np.array_equal(measure(moved), first[moved], equal_nan=True):
            raise PrivacyRefusedError(
                "expected a record to give the same bits wherever in a pass it lies, got others: this machine's matrix products "
                "treat rows differently",
                remedy="start Cohortium in a process that has computed nothing yet, with MKL_CBWR=AUTO or unset; or choose layers "
                "of another width",
            )
    _FOUND_ALIKE.add(case)


def architecture(model: nn.Module) -> Hashable:
    """What of a network the choice of kernels follows from."""
    return repr(model), tuple(tuple(parameter.shape) for parameter in model.parameters())


def drawn_model(model: nn.Module) -> nn.Module:
    """A copy with drawn parameters: the same for everybody."""
    drawn = copy.deepcopy(model)
    values, trainable = flatten(drawn), layout_of(drawn).num_trainable
    generator = public_streams("row order, parameters", 0).stream()
    values[:trainable] = generator.standard_normal(trainable) * _SPREAD
    load(drawn, values)
    return drawn


def drawn_dataset(like: PatientDataset, *, task: Objective, length: int = DRAWN) -> PatientDataset:
    """So many drawn patients with one record each: the same for everybody.

    Args:
        like: Sets the number of features and the shape of outcomes; no value is looked at.
        task: Sets what outcomes may be.
        length: P. A pass may have more places; a record then comes several times.
    """
    generator = public_streams("row order, records", 0).stream()
    features = generator.standard_normal((length, like.features.shape[1]), dtype=np.float32)
    shape = (length, *like.outcomes.shape[1:])
    if isinstance(task, DiscreteTimeTerms | CoxTerms):  # encoded times, see federation.models.survival_loss
        signs = generator.integers(0, 2, shape) * 2 - 1
        outcomes = signs * (1 + generator.uniform(0, task.edges[-1], shape))
    else:
        outcomes = generator.integers(0, 2, shape)
    return PatientDataset(features, outcomes.astype(np.float32), np.arange(length), like.feature_names)
