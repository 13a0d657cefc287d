"""How many patients an analysis is of: the first step of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from federation.statistics.step import Columns, Shapes, Step

FloatArray = NDArray[np.float64]


class CountStep(Step):
    """Patients of the selection."""

    kind: Literal["count"] = "count"

    def shapes(self) -> Shapes:
        """``patients``, and ``sites`` that have any."""
        return {"patients": (), "sites": ()}

    def variables(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def summarise(self, columns: Columns) -> Mapping[str, FloatArray]:
        """See :meth:`shapes`."""
        patients = columns.records if columns.patients is None else columns.patients
        return {"patients": np.array(float(patients)), "sites": np.array(float(columns.records > 0))}

    def per_patient(self, columns: Columns) -> Mapping[str, FloatArray]:
        """One for each record. How many sites have patients is no sum over patients, and is not among the parts."""
        return {"patients": np.ones(columns.records)}
