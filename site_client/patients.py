"""The only patient-level types of the project.

They live in ``site_client``, which the aggregator cannot import, so no line of central code can even name one. None of them
prints its contents.

Axis names: R records, P patients, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federation.errors import InternalError
from site_client.arrays.stored import StoredArray
from site_client.arrays.streamed import StreamedRows

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
Features = NDArray[np.float32] | StreamedRows
"""Rows can be indexed in both; those of arrays are read from the disk when they are."""


@dataclass(frozen=True)
class Records:
    """Identifiable records of one site, in the terms of the contract.

    Args:
        site: The site's identifier.
        patient_keys: ``[R]`` strings; rows with the same key are the same patient.
        values: Contract variable name to ``[R]`` float64 in the contract's unit. Binary variables hold 0 or 1, coded variables the
            index of their level, arrays their row in ``arrays``; NaN is missing.
        index_dates: ``[R]`` ``datetime64[D]`` or ``None`` if the contract has no index date.
        arrays: Name of an image, signal or mask to the file that holds it.
    """

    site: str
    patient_keys: NDArray[np.str_] = field(repr=False)
    values: Mapping[str, FloatArray] = field(repr=False)
    index_dates: NDArray[np.datetime64] | None = field(default=None, repr=False)
    arrays: Mapping[str, StoredArray] = field(default_factory=dict[str, StoredArray], repr=False)

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.values.items()}
        if any(length != len(self.patient_keys) for length in lengths.values()):
            raise InternalError(f"expected {len(self.patient_keys)} rows in every column, got {lengths}")

    def __len__(self) -> int:
        return len(self.patient_keys)

    def rows(self, chosen: NDArray[np.bool_] | IndexArray) -> Records:
        """The chosen rows, in the given order."""
        return Records(
            site=self.site,
            patient_keys=self.patient_keys[chosen],
            values={name: column[chosen] for name, column in self.values.items()},
            index_dates=None if self.index_dates is None else self.index_dates[chosen],
            arrays=self.arrays,
        )


@dataclass(frozen=True)
class Attrition:
    """How many records and patients each step of the cohort definition left. Stays at the site."""

    steps: tuple[tuple[str, int, int], ...]
    """(what was done, records left, patients left), in order."""


@dataclass(frozen=True)
class Cohort:
    """The records that meet the cohort definition, and how they were reached."""

    records: Records
    attrition: Attrition


@dataclass(frozen=True)
class PatientDataset:
    """Encoded records, grouped by patient.

    Args:
        features: ``[R, F]`` float32; streamed from the disk where the contract has images or signals.
        outcomes: ``[R]`` float32: 0 or 1, a class index, or the outcome scaled to its public range. ``[R, pixels]`` masks in a
            segmentation.
        patient_index: ``[R]`` int64, non-decreasing from 0 to P - 1: rows of a patient are adjacent.
        feature_names: F names.
    """

    features: Features = field(repr=False)
    outcomes: Features = field(repr=False)
    patient_index: IndexArray = field(repr=False)
    feature_names: Sequence[str]

    def __post_init__(self) -> None:
        rows, width = self.features.shape
        steps = np.diff(self.patient_index)
        grouped = rows == 0 or (int(self.patient_index[0]) == 0 and bool(np.all((steps == 0) | (steps == 1))))
        if (
            len(self.outcomes) != rows
            or len(self.patient_index) != rows
            or width != len(self.feature_names)
            or not grouped
        ):
            raise InternalError(
                f"expected {rows} outcomes and grouped patient indices and {width} names, got {len(self.outcomes)}, "
                f"{len(self.patient_index)} and {len(self.feature_names)}"
            )

    @property
    def num_records(self) -> int:
        """R."""
        return len(self.outcomes)

    @property
    def num_patients(self) -> int:
        """P."""
        return int(self.patient_index[-1]) + 1 if len(self.patient_index) else 0

    @property
    def in_memory(self) -> NDArray[np.float32]:
        """``[R, F]`` features.

        Raises:
            InternalError: If they are streamed: the whole is never read.
        """
        return _in_memory(self.features)

    @property
    def known_outcomes(self) -> NDArray[np.float32]:
        """``[R]`` outcomes of every task but segmentation.

        Raises:
            InternalError: If they are streamed.
        """
        return _in_memory(self.outcomes)

    def column(self, index: int) -> NDArray[np.float32]:
        """``[R]`` one feature of a tabular variable."""
        return self.features.column(index) if isinstance(self.features, StreamedRows) else self.features[:, index]

    def in_order(self, rows: IndexArray) -> PatientDataset:
        """Some records in another order, as patients of one record each."""
        return PatientDataset(self.features[rows], self.outcomes[rows], np.arange(len(rows)), self.feature_names)

    def patients(self, chosen: IndexArray) -> PatientDataset:
        """The records of the chosen patients (sorted, distinct indices), renumbered from 0; streamed ones are read."""
        rows = np.flatnonzero(np.isin(self.patient_index, chosen))
        return PatientDataset(
            features=self.features[rows],
            outcomes=self.outcomes[rows],
            patient_index=np.searchsorted(np.sort(chosen), self.patient_index[rows]).astype(np.int64),
            feature_names=self.feature_names,
        )


def _in_memory(rows: Features) -> NDArray[np.float32]:
    if isinstance(rows, StreamedRows):
        raise InternalError("expected records in memory, got ones that are streamed from the disk")
    return rows


@dataclass(frozen=True)
class SiteData:
    """A site's patients, divided by patient into training and test."""

    site: str
    training: PatientDataset
    test: PatientDataset
