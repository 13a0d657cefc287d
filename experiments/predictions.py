"""Scores of one training setting on the test patients of one site. Exists in simulations only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federation.errors import InternalError
from federation.models.task_terms import Objective

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class SitePredictions:
    """What a model says about a site's test records, and what happened.

    Args:
        site: The site's identifier.
        scores: ``[R]`` probability of the outcome, ``[R, K]`` class probabilities, or ``[R]`` scaled prediction.
        outcomes: ``[R]`` 0 or 1, class index, or scaled outcome.
        patient_index: ``[R]`` int64 from 0 to P - 1; rows with the same index are the same patient.
    """

    site: str
    scores: NDArray[np.floating] = field(repr=False)
    outcomes: NDArray[np.floating] = field(repr=False)
    patient_index: IndexArray = field(repr=False)

    def __post_init__(self) -> None:
        rows = len(self.outcomes)
        if len(self.scores) != rows or len(self.patient_index) != rows:
            raise InternalError(
                f"expected as many scores and patient indices as outcomes at site {self.site}, got {len(self.scores)}, "
                f"{len(self.patient_index)} and {rows}"
            )
        if not (np.isfinite(self.scores).all() and np.isfinite(self.outcomes).all()):
            raise InternalError(f"expected finite scores and outcomes at site {self.site}")

    @property
    def num_records(self) -> int:
        """R."""
        return len(self.outcomes)

    @property
    def num_patients(self) -> int:
        """P: distinct patients among the test records."""
        return len(np.unique(self.patient_index))


@dataclass(frozen=True)
class Scored:
    """Records of one or several sites in the form the metrics read.

    Args:
        task: What the scores mean.
        scores: ``[R]`` or ``[R, K]`` float64.
        outcomes: ``[R]`` float64.
        patient_of_record: ``[R]`` int64 into the columns of a ``[B, P]`` matrix of resampling weights.
    """

    task: Objective
    scores: FloatArray = field(repr=False)
    outcomes: FloatArray = field(repr=False)
    patient_of_record: IndexArray = field(repr=False)


def scored(task: Objective, predictions: SitePredictions) -> Scored:
    """One site's records, its patients renumbered without gaps."""
    return Scored(
        task=task,
        scores=np.asarray(predictions.scores, dtype=np.float64),
        outcomes=np.asarray(predictions.outcomes, dtype=np.float64),
        patient_of_record=np.unique(predictions.patient_index, return_inverse=True)[1].astype(np.int64),
    )


def joined(sites: tuple[Scored, ...]) -> Scored:
    """All sites' records one after the other; patients of different sites are different."""
    offsets = np.cumsum([0, *(int(entry.patient_of_record.max(initial=-1)) + 1 for entry in sites[:-1])])
    return Scored(
        task=sites[0].task,
        scores=np.concatenate([entry.scores for entry in sites]),
        outcomes=np.concatenate([entry.outcomes for entry in sites]),
        patient_of_record=np.concatenate(
            [entry.patient_of_record + offset for entry, offset in zip(sites, offsets, strict=True)]
        ),
    )
