"""Per-patient gradients, clipped and summed, without writing them out: what covered networks use instead of Opacus' hooks.

Norms come from a layer's inputs and output gradients, the clipped sum from one weighted matrix product (Bu et al. 2022;
:mod:`federation.models.stacked`). Passes have one public shape, filled up with zeros, as in :mod:`site_client.dp_step` and
for the same reason. The sum is float64 and cut to the grid once; :mod:`federation.privacy.summation` says why its
sensitivity holds.

Patients whose records do not fit into a pass, or whose records' gradients all but cancel each other, are few; they go through
Opacus. Which patients those are depends on their own records only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from federation.errors import InvalidInputError
from federation.models.stacked.memory import PAIR_BYTES, fitting_records, record_bytes
from federation.models.stacked.network import StackedNetwork
from federation.models.stacked.patient_sums import patient_sums
from federation.models.stacked.sinks import RecordGradients
from federation.models.task_terms import Objective
from federation.privacy.clipping import GRID_BITS, FloatArray
from federation.privacy.kept_memory import kept_memory
from federation.privacy.summation import (
    LONGEST_PASS,
    MOST_CANCELLATION,
    MOST_RECORDS,
    SHORTEST_PASS,
    clipping_factors,
    cut_to_grid,
    room_for_rounding,
    working_norm,
)
from site_client.arrays.streamed import StreamedRows
from site_client.dp_step import PatientGradients
from site_client.patients import IndexArray, PatientDataset

_ROWS: Final = 32
"""Records, by which a pass is longer: PyTorch's loops take two vectors of 16 numbers at once and the rest one by one, and what they
take one by one may have other last bits."""
_PASS_BYTES: Final = 256 * 2**20
"""Memory for the records of a pass: features, layers' values, gradients, and pairs of records."""


def pass_length(drawn: int, network: StackedNetwork, num_features: int) -> int:
    """Records of a pass: one holds nearly every Poisson draw of so many on average, where memory does.

    A step takes no more memory with more patients, then: it goes through the network in several passes of like length. Nothing
    of the records is looked at, so the length is public.

    Args:
        drawn: Records expected in a step; public.
        network: How many values it makes of a record.
        num_features: F of a record.

    Returns:
        A multiple of 32 from :data:`SHORTEST_PASS`, however large a record is, to :data:`LONGEST_PASS`.
    """
    fitting = fitting_records(_PASS_BYTES, each=record_bytes(network, num_features).apart, pair=PAIR_BYTES)
    most = min(LONGEST_PASS, max(SHORTEST_PASS, fitting // _ROWS * _ROWS))
    enough = drawn + 4 * math.sqrt(drawn)
    return max(SHORTEST_PASS, math.ceil(enough / math.ceil(enough / most) / _ROWS) * _ROWS)


def whole_pass(wanted: int) -> int:
    """Records of the pass that is made for so many: a multiple of 32."""
    return min(LONGEST_PASS, max(SHORTEST_PASS, math.ceil(wanted / _ROWS) * _ROWS))


class KernelGradients:
    """Clipped gradient sums over drawn patients, of one covered network on one data set.

    Args:
        model: For the patients that Opacus takes; its values must be those of ``theta``.
        network: The same, stacked.
        theta: ``[1, D]`` float32: the parameters, looked at anew with every call.
        dataset: The site's training patients.
        task: Sets the loss.
        pass_records: Records that go through the network at once; rounded up to whole vectors. Public.
        grid_bits: The clipping norm is ``2**grid_bits`` grid steps.
        lends_sums: Whether a sum is the caller's until the next one only, see :mod:`federation.privacy.kept_memory`.

    Raises:
        InvalidInputError: If there are more records than sums are known to be right for.
    """

    def __init__(
        self,
        model: nn.Module,
        network: StackedNetwork,
        theta: Tensor,
        dataset: PatientDataset,
        *,
        task: Objective,
        pass_records: int,
        grid_bits: int = GRID_BITS,
        lends_sums: bool = False,
    ) -> None:
        if dataset.num_records > MOST_RECORDS:
            raise InvalidInputError(
                f"expected at most {MOST_RECORDS} training records at a site, got {dataset.num_records}",
                remedy="declare the true number of patients, or narrow the cohort",
            )
        self._model, self._network, self._theta, self._dataset = model, network, theta, dataset
        self._task: Objective = task
        self._grid_bits = grid_bits
        self._lent = kept_memory("clipped sum", network.num_parameters).unsqueeze(0) if lends_sums else None
        self._records = whole_pass(pass_records)
        self._features = torch.zeros((1, self._records, dataset.features.shape[1]))
        self._outcomes = torch.zeros((1, self._records))
        self._rows: NDArray[np.float32] = self._features[0].numpy()
        self._said: NDArray[np.float32] = self._outcomes[0].numpy()
        self._known = dataset.known_outcomes
        self._first = np.searchsorted(dataset.patient_index, np.arange(dataset.num_patients + 1))
        self._lengths = np.diff(self._first)
        self._is_single = dataset.num_patients == dataset.num_records

    def clipped_sum(self, patients: IndexArray, *, clipping_norm: float) -> FloatArray:
        """Sum of the patients' clipped gradients.

        Args:
            patients: Drawn patients, increasing; none gives zero.
            clipping_norm: Bound on the L2 norm by which one patient moves the result, in units of the gradient.

        Returns:
            ``[D]`` whole grid steps, see :mod:`federation.privacy.clipping`.
        """
        total = self._lent
        if total is None:
            total = torch.empty((1, self._network.num_parameters), dtype=torch.float64)
        bound = working_norm(clipping_norm, num_parameters=self._network.num_parameters, grid_bits=self._grid_bits)
        apart: list[IndexArray] = []
        is_first = True
        for chosen in self._passes(patients, apart):
            left = self._add_pass(chosen, total, bound=bound, is_first=is_first)
            is_first = False
            if len(left):
                apart.append(left)
        if is_first:
            total.zero_()
        summed: FloatArray = cut_to_grid(total, clipping_norm=clipping_norm, grid_bits=self._grid_bits).numpy()[0]
        if apart:
            summed += self._by_opacus(np.sort(np.concatenate(apart)), clipping_norm=clipping_norm)
        return summed

    def record_norms(self, rows: IndexArray) -> FloatArray:
        """What clipping goes by, for one pass, see :mod:`site_client.row_order`.

        Args:
            rows: At most as many records as a pass has, in the order of their places.

        Returns:
            ``[B, 2]`` squared norms: of each record's gradient, and of its and its neighbour's together.
        """
        gradients = self._gradients_of(rows)
        pairs = _same_patient(np.arange(len(rows)) // 2, self._records)
        both = torch.stack((gradients.squared_norms(), gradients.squared_patient_norms(pairs)), dim=2)
        return both[0, : len(rows)].numpy()

    def _passes(self, patients: IndexArray, apart: list[IndexArray]) -> Iterator[IndexArray]:
        """Patients of each pass, whole patients only; those with too many records are put apart."""
        if self._is_single:
            yield from (patients[start : start + self._records] for start in range(0, len(patients), self._records))
            return
        fits = self._lengths[patients] <= self._records
        if not fits.all():
            apart.append(patients[~fits])
        patients = patients[fits]
        ends = np.cumsum(self._lengths[patients])
        start = 0
        while start < len(patients):
            done = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, done + self._records, side="right"))
            yield patients[start:stop]
            start = stop

    def _add_pass(self, patients: IndexArray, total: Tensor, *, bound: float, is_first: bool) -> IndexArray:
        """Add the clipped gradients of a pass, or write the first one's; returns patients that have to be treated apart."""
        rows, owners = self._rows_of(patients)
        gradients = self._gradients_of(rows)
        squares = gradients.squared_norms()
        unusable = None
        if not math.isfinite(squares.sum().item()):
            unusable = ~torch.isfinite(squares)
            gradients.forget(unusable)
            squares.masked_fill_(unusable, 0.0)
        if self._is_single:
            factors, left = clipping_factors(squares.sqrt_(), bound), patients[:0]
        else:
            factors, cancelling = self._patient_factors(gradients, squares, unusable, owners, bound=bound)
            left = patients[np.unique(owners[cancelling[: len(rows)]])]
        factors[:, len(rows) :] = 0.0
        gradients.add_weighted(factors, total, is_first=is_first)
        return left

    def _gradients_of(self, rows: IndexArray) -> RecordGradients:
        """Gradients of a pass: the records, and zeros after them."""
        if isinstance(self._dataset.features, StreamedRows):
            self._features[0, : len(rows)] = torch.from_numpy(self._dataset.features[rows])
        else:
            # Through NumPy: the records may lie in a file that is mapped read-only. Clipping does not happen, it skips a copy.
            np.take(self._dataset.features, rows, axis=0, out=self._rows[: len(rows)], mode="clip")
        np.take(self._known, rows, out=self._said[: len(rows)], mode="clip")
        self._rows[len(rows) :] = 0.0
        self._said[len(rows) :] = 0.0
        gradients = RecordGradients()
        self._network.loss_gradients(self._theta, self._features, self._outcomes, task=self._task, sink=gradients)
        return gradients

    def _patient_factors(
        self, gradients: RecordGradients, squares: Tensor, unusable: Tensor | None, owners: IndexArray, *, bound: float
    ) -> tuple[Tensor, NDArray[np.bool_]]:
        """``[1, B]`` what each record's gradient is multiplied by, and ``[B]`` which of them belong to a patient apart."""
        same = _same_patient(owners, self._records)
        factors = clipping_factors(gradients.squared_patient_norms(same).sqrt_(), bound)
        if unusable is not None:  # one unusable record makes its patient unusable
            factors[torch.bmm(same, unusable.double().unsqueeze(2)).squeeze(2) > 0] = 0.0
        apart = patient_sums(same, squares.sqrt()) * factors > MOST_CANCELLATION * bound
        factors[apart] = 0.0
        return factors, apart[0].numpy()

    def _rows_of(self, patients: IndexArray) -> tuple[IndexArray, IndexArray]:
        """Row numbers of the patients' records, and for each the position of its patient."""
        if self._is_single:
            return patients, patients
        lengths = self._lengths[patients]
        owners = np.repeat(np.arange(len(patients)), lengths)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return (self._first[patients][owners] + within).astype(np.int64), owners.astype(np.int64)

    def _by_opacus(self, patients: IndexArray, *, clipping_norm: float) -> FloatArray:
        # As short as all others: a patient that comes or goes moves the sum of the others in its last bits, too, by the passes
        # that they share and by how norms are computed.
        with PatientGradients(
            self._model,
            self._dataset,
            task=self._task,
            pass_records=self._records,
            grid_bits=self._grid_bits,
            room=room_for_rounding(self._network.num_parameters, grid_bits=self._grid_bits),
        ) as gradients:
            return gradients.clipped_sum(patients, clipping_norm=clipping_norm)


def _same_patient(owners: IndexArray, records: int) -> Tensor:
    """``[1, B, B]`` float64: 1 where two records of a pass are of the same patient. Padding belongs to nobody."""
    filled = torch.full((records,), -1, dtype=torch.int64)
    filled[: len(owners)] = torch.from_numpy(owners)
    same = (filled.unsqueeze(0) == filled.unsqueeze(1)) & (filled >= 0)
    return same.double().unsqueeze(0)
