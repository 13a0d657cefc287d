"""Per-patient gradients, clipped and summed: the part of a private step that sees records. Home of Opacus.

Opacus gives the gradient of each record (``GradSampleModule`` only: ``PrivacyEngine`` would derive rate, steps and
divisor from the private number of records). The gradients of a patient's records are added, *then* the patient's sum is
clipped, so a patient with a thousand records moves the step no further than one with a single record. Records go
through the model in passes of bounded memory; a patient may span several of them, and no draw is ever cut short.

Every pass has the same shape, filled up with records of zeros. Kernels treat the last rows of a batch in another order of
operations, so with passes as long as the draw the last bits of one record's gradient would depend on how many others are
drawn, and whoever chooses the parameters can blow last bits up (``tests/replay/test_batch_shapes.py``).
"""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Final, Self

import numpy as np
import torch
from torch import nn

from federation.errors import InternalError
from federation.models.losses import record_losses
from federation.models.task_terms import Objective
from federation.privacy.clipping import GRID_BITS, FloatArray, clipped_sum
from site_client.patients import IndexArray, PatientDataset

_GRADIENT: Final = "grad_sample"
"""Where Opacus leaves the gradients of the records."""
_GRADIENT_BYTES: Final = 32 * 2**20
"""Memory for one physical batch of per-record gradients."""
SHORTEST_PASS: Final = 32
"""Two vectors of 16 numbers, which PyTorch's loops take at once; shorter passes would end in the scalar code for remainders, whose
last bits are others."""
_LONGEST_PASS: Final = 4096
_BYTES_PER_VALUE: Final = 4 + 4 + 8
"""Opacus' gradient, its flat copy, and the float64 sum."""


class PatientGradients:
    """Clipped gradient sums over drawn patients, of one model on one data set.

    Args:
        model: Its parameters' current values are used at every call. Opacus hooks stay on it until the context ends.
        dataset: The site's training patients.
        task: Sets the loss.
        pass_records: Records that go through the model at once, about as many as are drawn in a step. Public: it must not
            depend on the records. Memory may set a lower bound.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
        room: By which part gradients are clipped shorter, see :func:`federation.privacy.clipping.clipped_sum`.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: PatientDataset,
        *,
        task: Objective,
        pass_records: int = SHORTEST_PASS,
        grid_bits: int = GRID_BITS,
        room: float = 0.0,
    ) -> None:
        from opacus import GradSampleModule  # takes longer to import than torch, and few networks need it

        self._hooked = GradSampleModule(model, loss_reduction="sum")
        self._parameters = list(model.parameters())
        self._size = sum(parameter.numel() for parameter in self._parameters)
        self._dataset = dataset
        self._task: Objective = task
        self._grid_bits = grid_bits
        self._room = room
        self._physical_records = physical_records(self._size, pass_records)
        # Rows of a patient are adjacent: patient p has rows first[p] to first[p + 1].
        self._first = np.searchsorted(dataset.patient_index, np.arange(dataset.num_patients + 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooked.cleanup()

    def clipped_sum(self, patients: IndexArray, *, clipping_norm: float) -> FloatArray:
        """Sum of the patients' clipped gradients.

        Args:
            patients: Drawn patients; none gives zero.
            clipping_norm: Bound on the L2 norm of one patient's summed gradient.

        Returns:
            ``[D]`` whole grid steps, see :mod:`federation.privacy.clipping`.
        """
        rows, owners = self._rows_of(patients)
        total = np.zeros(self._size)
        open_owner, open_sum = -1, np.zeros((0, self._size))
        for start in range(0, len(rows), self._physical_records):
            batch = slice(start, start + self._physical_records)
            sums = self._sum_by_owner(rows[batch], owners[batch])
            if owners[start] == open_owner:
                sums[0] += open_sum[0]
            else:
                total += clipped_sum(open_sum, clipping_norm=clipping_norm, grid_bits=self._grid_bits, room=self._room)
            # The last patient may go on in the next physical batch, so it is not clipped yet.
            open_owner, open_sum = int(owners[batch][-1]), sums[-1:]
            total += clipped_sum(sums[:-1], clipping_norm=clipping_norm, grid_bits=self._grid_bits, room=self._room)
        return total + clipped_sum(open_sum, clipping_norm=clipping_norm, grid_bits=self._grid_bits, room=self._room)

    def record_norms(self, rows: IndexArray) -> FloatArray:
        """What clipping goes by, for one pass, see :mod:`site_client.row_order`.

        Args:
            rows: As many records as a pass has, in the order of their places.

        Returns:
            ``[B]`` norms of the records' gradients.
        """
        return torch.linalg.vector_norm(self._record_gradients(rows).double(), dim=1).numpy()

    def _rows_of(self, patients: IndexArray) -> tuple[IndexArray, IndexArray]:
        """Row numbers of the patients' records, and for each the position of its patient."""
        lengths = self._first[patients + 1] - self._first[patients]
        owners = np.repeat(np.arange(len(patients)), lengths)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return (self._first[patients][owners] + within).astype(np.int64), owners.astype(np.int64)

    def _sum_by_owner(self, rows: IndexArray, owners: IndexArray) -> FloatArray:
        """``[owners, D]`` float64 sums of the records' gradients."""
        gradients = self._record_gradients(rows).to(torch.float64)
        positions = owners - owners[0]
        if positions[-1] == len(rows) - 1:
            return gradients.numpy()
        # One unusable record makes its patient's sum infinite or NaN; clipping then leaves that patient out.
        sums = torch.zeros((int(positions[-1]) + 1, self._size), dtype=torch.float64)
        return sums.index_add_(0, torch.from_numpy(positions), gradients).numpy()

    def _record_gradients(self, rows: IndexArray) -> torch.Tensor:
        """``[records, D]`` float32: the gradient of each record's own loss."""
        features = torch.zeros((self._physical_records, self._dataset.features.shape[1]))
        outcomes = torch.zeros((self._physical_records, *self._dataset.outcomes.shape[1:]))
        features[: len(rows)] = torch.from_numpy(self._dataset.features[rows])
        outcomes[: len(rows)] = torch.from_numpy(self._dataset.outcomes[rows])
        for parameter in self._parameters:
            parameter.grad = None
            setattr(parameter, _GRADIENT, None)
        with warnings.catch_warnings():
            # Expected: the records themselves need no gradient.
            warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
            record_losses(self._task, self._hooked(features), outcomes).sum().backward()
        parts: list[torch.Tensor] = []
        for parameter in self._parameters:
            gradient: object = getattr(parameter, _GRADIENT)
            if not isinstance(gradient, torch.Tensor):
                raise InternalError("expected one gradient a record from Opacus for every parameter")
            parts.append(gradient.detach().reshape(self._physical_records, -1)[: len(rows)])
        return torch.cat(parts, dim=1)


def physical_records(num_parameters: int, wanted: int) -> int:
    """Records of a pass: a power of two of at least 32 and at most what fits; a record at a time if not even 32 do.

    Args:
        num_parameters: D.
        wanted: About as many as are drawn in a step.
    """
    fitting = _GRADIENT_BYTES // max(1, _BYTES_PER_VALUE * num_parameters)
    if fitting < SHORTEST_PASS:
        return 1
    most = min(_LONGEST_PASS, 2 ** (fitting.bit_length() - 1))
    return min(most, max(SHORTEST_PASS, 2 ** max(0, wanted - 1).bit_length()))
