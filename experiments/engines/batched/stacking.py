"""Records of many sites in one tensor, and which of them go through the network in each step.

Axis names: S sites, K steps, B places for records of a step, R records of all sites, F features. Sites of unequal size have
empty places, which point at a row of zeros and count with weight zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from site_client.patients import PatientDataset

IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class SiteRows:
    """Where a site's records are.

    Args:
        start: First row of the site in the stack.
        first: ``[P]`` first row of each patient, counted from ``start``.
        lengths: ``[P]`` records of each patient.
    """

    start: int
    first: IndexArray
    lengths: IndexArray

    @cached_property
    def is_single(self) -> bool:
        """Whether every patient has one record."""
        return bool((self.lengths == 1).all())

    def of(self, patients: IndexArray) -> tuple[IndexArray, IndexArray]:
        """Rows of the stack with the patients' records, and for each the position of its patient."""
        if self.is_single:
            return self.start + patients, np.arange(len(patients))
        lengths = self.lengths[patients]
        owners = np.repeat(np.arange(len(patients)), lengths)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.start + self.first[patients][owners] + within, owners


class Stack:
    """Training records of some sites.

    Args:
        datasets: One for each site.
        device: Where the tensors live.
        with_ones: Whether :attr:`rows` have a column of ones after the features.
    """

    def __init__(self, datasets: Sequence[PatientDataset], *, device: torch.device, with_ones: bool = False) -> None:
        width = datasets[0].features.shape[1]
        num_records = sum(data.num_records for data in datasets)
        rows = np.zeros((num_records + 1, width + with_ones), dtype=np.float32)
        np.concatenate([data.in_memory for data in datasets], out=rows[:num_records, :width])
        rows[:num_records, width:] = 1.0
        self.rows = torch.from_numpy(rows).to(device)
        self.num_features = width
        outcomes = np.concatenate([*(data.known_outcomes for data in datasets), np.zeros(1, dtype=np.float32)])
        self.outcomes = torch.from_numpy(outcomes).to(device)
        self.device = device
        self.sites: list[SiteRows] = []
        start = 0
        for data in datasets:
            first = np.searchsorted(data.patient_index, np.arange(data.num_patients + 1)).astype(np.int64)
            self.sites.append(SiteRows(start, first[:-1], np.diff(first)))
            start += data.num_records
        self.empty_row = start
        self.is_single = all(site.is_single for site in self.sites)

    @cached_property
    def squared_norms(self) -> Tensor:
        """``[R]``: of the rows, with their ones."""
        return self.rows.square().sum(dim=1)

    def taken(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[..., F]`` and outcomes ``[...]`` of the rows at ``places``."""
        flat = places.reshape(-1)
        features = self.rows.index_select(0, flat).view(*places.shape, self.rows.shape[1])[..., : self.num_features]
        return features, self.outcomes.index_select(0, flat).view(places.shape)

    def widths(self, places: IndexArray) -> list[int]:
        """Of ``[S, K, B]`` places, which are filled from the first: how many each step needs, at least 1."""
        filled = (places != self.empty_row).any(axis=0)
        return np.maximum(1, filled.sum(axis=1)).tolist()


def placed(rows: Sequence[IndexArray], steps: Sequence[IndexArray], *, num_steps: int, empty_row: int) -> IndexArray:
    """Put every site's rows into the places of their steps.

    Args:
        rows: For each site the rows of all steps, one after another.
        steps: For each site the step of each of its rows, non-decreasing.
        num_steps: K.
        empty_row: What an empty place points at.

    Returns:
        ``[S, K, B]`` with B the most rows of one site in one step, at least 1.
    """
    counts = [np.bincount(of_rows, minlength=num_steps) for of_rows in steps]
    width = max(1, *(int(count.max(initial=0)) for count in counts))
    places = np.full((len(rows), num_steps, width), empty_row, dtype=np.int64)
    for site, (own, of_rows, count) in enumerate(zip(rows, steps, counts, strict=True)):
        within = np.arange(len(own)) - np.repeat(np.cumsum(count) - count, count)
        places[site, of_rows, within] = own
    return places
