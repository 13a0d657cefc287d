"""What the sites of a block take of the memory, beside their records: counted from shapes, sizes of sites and the study's terms.

Axis names: B places for records of a step, D parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.draws import MOST_BYTES, whole_vectors
from federation.models.stacked.memory import PAIR_BYTES, record_bytes
from federation.models.stacked.network import StackedNetwork
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from site_client.patients import PatientDataset, SiteData

_LEAST_AHEAD: Final = 2**20
_AHEAD_OF_MEMORY: Final = 16
_PARTS_AHEAD: Final = 5
"""Noise and its packed copy; row numbers, with their shares and outcomes, and as much while they are made."""
_DEVIATIONS: Final = 5
"""Standard deviations above its mean that a draw is taken for: fewer than one in a million is larger."""
_BASE: Final = 20
"""Bytes of a parameter in every kind of training: the parameters, as they came and as they are sent, their gradient."""
_PRIVATE: Final = 28
"""In private training: the clipped sum and a product that it is made of, or the sum's packed scales; noise; the mean."""
_OPTIMISERS: Final = {"sgd": 12, "adam": 20}
"""Moments, and what a step makes on its way."""
_ALGORITHMS: Final = {"fedprox": 12, "scaffold": 48}
"""Those that do something at a site: its start and its correction; what it remembers, in float64, as stacked and as packed."""


def bytes_ahead(memory: int, *, workers: int) -> int:
    """What a worker may take for each thing that is made for several steps at once.

    Args:
        memory: Bytes for all workers.
        workers: From 1.
    """
    return min(MOST_BYTES, max(_LEAST_AHEAD, memory // (_AHEAD_OF_MEMORY * workers)))


def worker_bytes(ahead: int) -> int:
    """What a worker takes whatever the number of its sites is."""
    return _PARTS_AHEAD * ahead


def site_bytes(
    manifest: StudyManifest,
    network: StackedNetwork,
    *,
    num_features: int,
    places: int,
    single: bool,
    unfolds: bool = False,
) -> int:
    """What one more site of a block takes.

    Args:
        manifest: Of the study.
        network: Its network.
        num_features: F.
        places: B, see :func:`most_places`.
        single: Whether every patient has one record.
        unfolds: See :func:`~federation.models.stacked.memory.record_bytes`.
    """
    private = isinstance(manifest.privacy, PatientLevelPrivacy)
    each = record_bytes(network, num_features, unfolds=unfolds)
    in_chain = ChainLayout.of(network) is not None and (single or not private)
    records = places * (each.apart if private and not in_chain else each.summed)
    pairs = PAIR_BYTES * places**2 if private and not single else 0
    of_parameter = _BASE + (_PRIVATE if private else 0) + _OPTIMISERS[manifest.schedule.optimiser.kind]
    of_parameter += _ALGORITHMS.get(manifest.algorithm.kind, 0)
    return records + pairs + of_parameter * network.num_parameters


def most_places(manifest: StudyManifest, sites: Sequence[SiteData]) -> int:
    """B that the steps of a block need: the records of a large draw at the site that draws most, as whole vectors."""
    private = manifest.training_event() is not None
    drawn = (
        _of_draw(site.training, probability=manifest.mechanism(site.site).sampling_probability)
        if private
        else _of_batch(site.training, size=manifest.schedule.batch_size)
        for site in sites
    )
    return whole_vectors(max(1, *drawn))


def _of_draw(data: PatientDataset, *, probability: float) -> int:
    """Records of a Poisson draw."""
    lengths = np.bincount(data.patient_index)
    spread = math.sqrt(probability * (1 - probability) * float((lengths**2).sum()))
    return min(data.num_records, math.ceil(probability * data.num_records + _DEVIATIONS * spread))


def _of_batch(data: PatientDataset, *, size: int) -> int:
    """Records of a mini-batch of so many patients."""
    lengths = np.sort(np.bincount(data.patient_index))
    if not len(lengths):
        return 0
    likely = math.ceil(size * lengths.mean() + _DEVIATIONS * math.sqrt(size) * lengths.std())
    return min(likely, int(lengths[-size:].sum()))
