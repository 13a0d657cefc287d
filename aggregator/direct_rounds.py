"""Rounds with sites that are in this process, all of them one object: no messages, the same folds.

For engines that compute all sites of a round at once. What a site would send comes as arrays, in roster order, and goes through the
same fold, the same server step and the same evaluation as what comes over a wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import add
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aggregator.checkpoints import CheckpointStore
from aggregator.evaluation import Evaluation, exact_evaluation, paid_evaluation
from aggregator.folding import WeightedFold, start_fold
from aggregator.masked_rounds import private_step
from aggregator.replies import check_quorum
from aggregator.witnessing import HeadKeeper
from federation.algorithms.fedavg import State
from federation.data.prepared_features import PreparedFeatures, derive
from federation.errors import CohortiumError
from federation.models.metrics import MetricSums
from federation.models.noisy_metrics import NoisyCounts
from federation.privacy.randomness import RandomStreams, fresh_streams
from federation.study.manifest import StudyManifest

Parameters = NDArray[np.float32]
Contribution = Mapping[str, NDArray[np.float32] | NDArray[np.float64]]
"""What a site would send: ``update`` and what the algorithm adds; or ``sum``, its whole grid steps of a secure sum."""


@runtime_checkable
class DirectSites(Protocol):
    """All sites of a study in this process."""

    def train(
        self, *, round_number: int, parameters: Parameters, broadcast: State, prepared: PreparedFeatures | None
    ) -> Iterator[tuple[str, Contribution | CohortiumError]]:
        """What each site of the roster would send after training, in roster order, or why it would send nothing."""
        ...

    def exact_metrics(self, *, parameters: Parameters, prepared: PreparedFeatures | None) -> Mapping[str, MetricSums]:
        """Exact sums by site."""
        ...

    def noisy_counts(
        self, *, round_number: int, parameters: Parameters, prepared: PreparedFeatures | None
    ) -> Mapping[str, NoisyCounts]:
        """Noisy counts by site."""
        ...

    def preparation_counts(self) -> Mapping[str, NDArray[np.float64]]:
        """Noisy counts for the map of the features, by site."""
        ...

    def close(self) -> None:
        """Release what is held. Safe to call twice."""
        ...


def train_directly(
    study: StudyManifest,
    sites: DirectSites,
    *,
    round_number: int,
    parameters: Parameters,
    broadcast: State,
    streams: RandomStreams | None,
    prepared: PreparedFeatures | None,
) -> WeightedFold:
    """Train at every site of the roster, and fold the updates in roster order.

    Raises:
        QuorumError: If fewer sites contribute than the manifest's quorum.
    """
    fold = start_fold(
        study, len(parameters), round_number=round_number, streams=fresh_streams() if streams is None else streams
    )
    sums: dict[str, NDArray[np.int64]] = {}
    for site, arrays in sites.train(
        round_number=round_number, parameters=parameters, broadcast=broadcast, prepared=prepared
    ):
        if isinstance(arrays, CohortiumError):
            fold.dropouts[site] = type(arrays).__name__
        elif "sum" in arrays:
            sums[site] = np.asarray(arrays["sum"], dtype=np.int64)
        elif not fold.excludes(site, arrays):
            fold.add(site, arrays, weight=study.entry(site).weight)
    if sums:
        share = study.noise_share()
        total = reduce(add, sums.values()).astype(np.float64)
        fold = WeightedFold(len(parameters), dropouts=fold.dropouts, contributors=list(sums), total_weight=1.0)
        fold.sums["update"] = private_step(study, share, total, survivors=tuple(sums), round_number=round_number)
    check_quorum(
        study, f"round {round_number}", contributors=fold.contributors, dropouts=fold.dropouts | fold.exclusions
    )
    return fold


def evaluate_directly(
    study: StudyManifest,
    sites: DirectSites,
    *,
    round_number: int,
    parameters: Parameters,
    prepared: PreparedFeatures | None,
) -> Evaluation:
    """How the model does, if the study evaluates after this round; over all sites only where the study says so."""
    if round_number not in study.evaluation_rounds():
        return Evaluation()
    if study.evaluation.noise is None:
        return exact_evaluation(study, sites.exact_metrics(parameters=parameters, prepared=prepared))
    counts = sites.noisy_counts(round_number=round_number, parameters=parameters, prepared=prepared)
    return paid_evaluation(study, counts)


def prepare_directly(
    study: StudyManifest, sites: DirectSites, *, checkpoints: CheckpointStore, keeper: HeadKeeper
) -> PreparedFeatures | None:
    """The public map of the features: kept from an earlier start, or counted now."""
    if study.preparation is None:
        return None
    kept = checkpoints.preparation()
    if kept is not None:
        return kept[0]
    counts = sites.preparation_counts()
    check_quorum(study, "preparation", contributors=list(counts), dropouts={})
    total = reduce(add, counts.values())
    prepared = derive(total, spec=study.preparation, contract=study.contract, num_sites=len(counts))
    checkpoints.save_preparation(prepared, keeper.heads)
    return prepared
