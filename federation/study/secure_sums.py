"""Which sums a study with secure aggregation takes, and what each of them holds: the same at every party."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.data.encoding import num_outputs
from federation.data.preparation import count_layout
from federation.errors import ManifestError
from federation.models.metrics import metric_lengths
from federation.protocol.messages import EvaluateRequest, PrepareRequest, Request, TrainRequest
from federation.protocol.secure_sum.terms import KeyBatch
from federation.study.evaluation_tables import expected_counts
from federation.study.manifest import StudyManifest

FloatArray = NDArray[np.float64]


def purpose_of(request: Request) -> str:
    """What a request's sum is for; sums of different purposes share no keys."""
    match request:
        case TrainRequest():
            return "train"
        case EvaluateRequest():
            return "evaluate"
        case PrepareRequest():
            return "prepare"


def first_batch(study: StudyManifest, purpose: str, round_number: int) -> KeyBatch:
    """The batch of keys that a round belongs to if nothing fails.

    Args:
        study: With secure aggregation.
        purpose: From :func:`purpose_of`.
        round_number: 0 for preparation, from 1 otherwise.

    Raises:
        ManifestError: If the study has no secure aggregation.
    """
    masked = study.aggregation.masked
    if masked is None:
        raise ManifestError("expected a study with secure aggregation, got one without")
    if purpose == "prepare":
        return KeyBatch(purpose=purpose, first_round=0, rounds=1)
    size = masked.rounds_per_agreement
    first = (round_number - 1) // size * size + 1
    return KeyBatch(purpose=purpose, first_round=first, rounds=min(size, study.schedule.rounds - first + 1))


def statistic_lengths(study: StudyManifest, purpose: str) -> dict[str, int]:
    """Names and lengths of the arrays whose sum is taken, in the order in which they are masked.

    Args:
        study: With secure aggregation.
        purpose: ``evaluate`` or ``prepare``.

    Raises:
        ManifestError: If the study takes no such sum.
    """
    if purpose == "prepare":
        if study.preparation is None:
            raise ManifestError("expected a study that pays for preparation, got one that does not")
        return {"counts": count_layout(study.preparation, study.contract).size}
    if study.evaluation_event() is not None:
        lengths = {f"counts/{name}": length for name, length in expected_counts(study).items()}
    else:
        outputs = num_outputs(study.contract, study.objective) if study.task == "multiclass" else 2
        metrics = metric_lengths(study.objective, score_bins=study.evaluation.score_bins, classes=outputs)
        lengths = {f"metrics/{name}": length for name, length in metrics.items()}
    return dict(sorted(lengths.items()))


def split_statistics(study: StudyManifest, purpose: str, values: FloatArray) -> Mapping[str, FloatArray]:
    """A sum's numbers under the names of their arrays.

    Args:
        study: With secure aggregation.
        purpose: ``evaluate`` or ``prepare``.
        values: ``[sum of lengths]``.
    """
    lengths = statistic_lengths(study, purpose)
    parts = np.split(values, np.cumsum(list(lengths.values()))[:-1])
    return dict(zip(lengths, parts, strict=True))
