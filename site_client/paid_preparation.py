"""A site's part of paid preparation: its patients counted once, with noise, and the public map applied to its features.

Every patient counts with the first record in stored order, which was chosen without looking at values, so one patient
moves the counts by the declared sensitivity whatever the record holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from federation.data.contract import DataContract
from federation.data.preparation import LevelsPart, NumberPart, PreparationSpec, count_layout
from federation.data.prepared_features import PreparedFeatures
from federation.errors import InternalError, TransportError
from federation.privacy.discrete import noisy_counts
from site_client.patients import PatientDataset, SiteData

IntegerArray = NDArray[np.int64]


def preparation_counts(dataset: PatientDataset, *, spec: PreparationSpec, contract: DataContract) -> IntegerArray:
    """Exact counts of a site. They never leave it.

    Args:
        dataset: Training patients, encoded by the contract's public ranges; may be empty.
        spec: What is counted.
        contract: Of the study.

    Returns:
        ``[D]`` int64, laid out by :func:`~federation.data.preparation.count_layout`.

    Raises:
        ManifestError: If spec and contract do not fit.
    """
    layout = count_layout(spec, contract)
    first = np.flatnonzero(np.diff(dataset.patient_index, prepend=-1))
    features = dataset.features[first].astype(np.float64)
    counts = np.zeros(layout.size, dtype=np.int64)
    for part in layout.parts:
        match part:
            case NumberPart():
                counts[part.counts] = spec.tree.count(part.leaves(features[:, part.column]))
            case LevelsPart():
                is_level = features[:, part.columns] > 0.5  # noqa: PLR2004 - a one-hot feature is 0 or 1
                chosen = is_level.argmax(axis=1)[is_level.any(axis=1)]  # at most one level each, by construction
                counts[part.counts] = np.bincount(chosen, minlength=is_level.shape[1])
    return counts


def release_preparation(
    dataset: PatientDataset, *, spec: PreparationSpec, contract: DataContract, generator: Generator
) -> dict[str, NDArray[np.float64]]:
    """The site's answer: one release, to be charged as ``spec.event(contract)`` before it is made.

    Args:
        dataset: See :func:`preparation_counts`.
        spec: What is counted, and with how much noise.
        contract: Of the study.
        generator: A cryptographic stream that has served nothing else.

    Returns:
        ``counts``: ``[D]`` whole numbers as float64, exact below 2**53.

    Raises:
        ManifestError: If spec and contract do not fit.
    """
    counts = preparation_counts(dataset, spec=spec, contract=contract)
    released = noisy_counts(counts, mechanism=spec.event(contract), generator=generator)
    return {"counts": released.astype(np.float64)}


def apply_preparation(data: SiteData, prepared: PreparedFeatures) -> SiteData:
    """The site's patients with prepared features, training and test alike.

    Raises:
        InternalError: If the map is of other features.
    """
    return replace(data, training=prepared_dataset(data.training, prepared), test=prepared_dataset(data.test, prepared))


def requested_map(
    arrays: Mapping[str, NDArray[np.float64]], *, spec: PreparationSpec | None, num_features: int
) -> PreparedFeatures | None:
    """The map of the features that a request carries; ``None`` in a study that pays for none.

    Args:
        arrays: ``centre``, ``spread`` and ``keep``, as the request holds them. Public, whatever they are: training is
            clipped and paid for afterwards.
        spec: The manifest's; ``None``: the study has no preparation, and ``arrays`` must be empty.
        num_features: F.

    Raises:
        TransportError: If the map is absent, impossible or not agreed on.
    """
    if spec is None:
        if arrays:
            raise TransportError(f"expected no map of features in a study without preparation, got {sorted(arrays)}")
        return None
    return PreparedFeatures.from_arrays(arrays, limit=spec.limit, num_features=num_features)


def prepared_dataset(dataset: PatientDataset, prepared: PreparedFeatures | None) -> PatientDataset:
    """Patients with prepared features; the same patients without a map.

    Raises:
        InternalError: If the map is of other features.
    """
    if prepared is None:
        return dataset
    if len(prepared.centre) != len(dataset.feature_names):
        raise InternalError(
            f"expected a map of {len(dataset.feature_names)} features, got one of {len(prepared.centre)}"
        )
    return replace(dataset, features=prepared.apply(dataset.in_memory))
