"""Plain figures of a set of predictions: the bootstrap's arithmetic with every patient counted once."""

from __future__ import annotations

import math

import numpy as np

from experiments.predictions import Scored
from experiments.resampled_metrics import weighted_metrics


def point_metrics(records: Scored) -> dict[str, float]:
    """Every metric of the task that is defined on these records (AUROC is not with one outcome class)."""
    num_patients = int(records.patient_of_record.max(initial=-1)) + 1
    found = weighted_metrics(records, np.ones((1, num_patients), dtype=np.uint16))
    return {name: float(values[0]) for name, values in found.items() if math.isfinite(float(values[0]))}
