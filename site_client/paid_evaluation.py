"""A paid evaluation at the site: counts of test records, with noise.

What leaves is whole-number tables with noise, named by the manifest, and nothing else: no loss, no exact count. The test
patients are charged for it like for any other release.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

from federation.data.contract import Binary, Categorical, Ordinal
from federation.data.prepared_features import PreparedFeatures
from federation.errors import InternalError, PrivacyRefusedError
from federation.models.noisy_metrics import OUTCOME_BINS, CountLayout, FloatArray, split_counts
from federation.models.segmentation import record_dice
from federation.privacy.discrete import noisy_counts
from federation.study.agreements import EvaluationNoise
from federation.study.evaluation_tables import count_layout
from federation.study.manifest import StudyManifest
from site_client.evaluation import check_scores, compared_outcomes, predict
from site_client.paid_preparation import prepared_dataset
from site_client.patients import PatientDataset

IndexArray = NDArray[np.int64]


def release_counts(
    model: nn.Module,
    dataset: PatientDataset,
    *,
    manifest: StudyManifest,
    generator: Generator,
    prepared: PreparedFeatures | None = None,
) -> dict[str, FloatArray]:
    """The site's tables with noise: all that a paid evaluation releases.

    Args:
        model: Used in evaluation mode.
        dataset: Encoded test records; an empty one gives pure noise.
        manifest: Of the study; its noise, bins and subgroups.
        generator: A cryptographic stream that has served nothing else.
        prepared: Map of the features that the model reads; subgroups are told by the features without it.

    Returns:
        Table to ``[length]`` float64 whole numbers, possibly negative, in the order of
        :func:`~federation.study.evaluation_tables.expected_counts`.

    Raises:
        PrivacyRefusedError: If the manifest pays for no evaluation, or this machine's scores depend on where in a pass a
            record lies.
    """
    event, noise = manifest.evaluation_event(), manifest.evaluation.noise
    if event is None or noise is None:
        raise PrivacyRefusedError("expected a manifest that pays for evaluation, got one that does not")
    check_scores(model, prepared_dataset(dataset, prepared), task=manifest.objective)
    exact = exact_counts(model, dataset, manifest=manifest, noise=noise, prepared=prepared)
    return split_counts(count_layout(manifest), noisy_counts(exact, mechanism=event, generator=generator))


def exact_counts(
    model: nn.Module,
    dataset: PatientDataset,
    *,
    manifest: StudyManifest,
    noise: EvaluationNoise,
    prepared: PreparedFeatures | None = None,
) -> IndexArray:
    """All tables, one after another, without noise. Never leaves the site.

    Returns:
        ``[cells of all groups]`` int64. One patient moves it by at most ``sqrt(noise.sensitivity_squared)`` in L2.
    """
    layout = count_layout(manifest)
    kept = first_records(dataset.patient_index, noise.max_records_per_patient)
    said = predict(model, prepared_dataset(dataset, prepared), task=manifest.objective).astype(np.float64)[kept]
    cells = _cells(layout, said, compared_outcomes(dataset)[kept].astype(np.float64))
    parts = [_count(cells, layout.cells)]
    for variable, levels in layout.subgroups:
        level_of_record = _levels(manifest, dataset, variable)[kept]
        parts += [_count(cells[level_of_record == index], layout.cells) for index in range(len(levels))]
    return np.concatenate(parts)


def first_records(patient_index: IndexArray, most: int) -> IndexArray:
    """Rows of the first ``most`` records of every patient, in stored order: chosen without a look at any value.

    Which ones count depends on the patient's own records alone, so another patient changes nothing.

    Args:
        patient_index: ``[R]``, non-decreasing.
        most: At least 1.
    """
    rank = np.arange(len(patient_index)) - np.searchsorted(patient_index, patient_index, side="left")
    return np.flatnonzero(rank < most)


def _count(cells: IndexArray, length: int) -> IndexArray:
    return np.bincount(cells, minlength=length).astype(np.int64)


def _cells(layout: CountLayout, said: FloatArray, truth: FloatArray) -> IndexArray:
    """``[R]`` the one cell of every record. What is not finite has a fixed cell: it neither fails nor is told apart."""
    match layout.task:
        case "binary":
            positive = truth > 0.5  # noqa: PLR2004 - between the two codes
            return _bin(said, layout.score_bins) + layout.score_bins * positive
        case "multiclass":
            predicted = np.where(np.isfinite(said), said, -np.inf).argmax(axis=1)
            return _bin(truth / layout.classes + 0.5 / layout.classes, layout.classes) * layout.classes + predicted
        case "regression":
            low, high = layout.outcome_range
            outcome = _bin((truth - low) / (high - low), OUTCOME_BINS)
            with np.errstate(invalid="ignore", over="ignore"):
                error = (said - truth) / layout.error_limit / 2 + 0.5
            return outcome * layout.score_bins + _bin(error, layout.score_bins)
        case "segmentation":
            return _bin(record_dice(said), layout.score_bins)
        case _:
            assert_never(layout.task)


def _bin(values: FloatArray, bins: int) -> IndexArray:
    """Bins of equal width on [0, 1]; what lies outside is in the nearest, NaN in the first."""
    inside = np.clip(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    return np.minimum((inside * bins).astype(np.int64), bins - 1)


def _levels(manifest: StudyManifest, dataset: PatientDataset, variable: str) -> IndexArray:
    """``[R]`` level of every record, back from its encoded features; an imputed value counts as the level imputed.

    Raises:
        InternalError: If the features are not those of the contract.
    """
    found = manifest.contract.variable(variable)

    def column(name: str) -> FloatArray:
        if name not in dataset.feature_names:
            raise InternalError(f"expected a feature {name!r} of the contract's encoding, got none")
        return np.nan_to_num(dataset.column(dataset.feature_names.index(name)).astype(np.float64))

    match found:
        case Binary():
            return (column(variable) > 0.5).astype(np.int64)  # noqa: PLR2004 - between the two codes
        case Categorical():
            shares = np.stack([column(f"{variable}={level}") for level in found.levels[1:]], axis=1)
            return np.where(shares.max(axis=1) > 0.5, shares.argmax(axis=1) + 1, 0)  # noqa: PLR2004 - one-hot
        case Ordinal():
            steps = len(found.levels) - 1
            return np.clip(np.rint((column(variable) + 1) / 2 * steps), 0, steps).astype(np.int64)
        case _:
            raise InternalError(f"expected a variable with levels, got {variable!r} of kind {found.kind!r}")
