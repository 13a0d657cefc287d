"""What a round and a study produced: all that a tracker, a checkpoint or a report may know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federation.data.prepared_features import PreparedFeatures
from federation.documents import Json
from federation.statistics.result import StudyAnalysis


@dataclass(frozen=True)
class RoundResult:
    """One finished round.

    Args:
        round_number: From 1.
        contributors: Sites whose updates are in the sum.
        dropouts: Sites of the roster that did not contribute, with the reason code.
        metrics: Metrics of the global model *after* the round over all sites that released theirs; empty if not evaluated.
        site_metrics: The same by site, where the study allows it.
        epsilon_spent: By site, up to and including this round; empty in a study without privacy.
        update_norm: L2 norm of the global parameters' change.
        model_digest: ``sha256:`` of the parameters after the round.
        seconds: Duration of the round, for progress only.
        metric_errors: Where evaluation is paid for: the error (root mean square) that its noise adds to each of ``metrics``.
        site_metric_errors: The same of ``site_metrics``.
        paid_performance: Where evaluation is paid for: intervals, subgroups, calibration and decision curve, as data of a
            :class:`~federation.models.noisy_performance.NoisyPerformance`; empty if not evaluated.
        observed: What a simulator saw of the model after the round, by looking at records that no aggregator has: for
            curves of simulations only. Not released by the study, never filled in a deployment.
        rolled_back: Why the round's model was not taken, where rounds pass a held-out gate; empty if it was.
        exclusions: Sites whose updates came and are not in the model, with the reason in words: left out by a robust rule, or in a
            masked sum that was never opened.
        unopened: Secure aggregation only: why nobody could open the round's sum, which left the model as it was; empty otherwise.
        unevaluated: The same of its evaluation, which left the round without performance.
        bytes_sent: Of the requests to all sites in this round, training and evaluation, as handed to the transport.
        bytes_received: Of their replies. Both are 0 in a round from before they were counted.
    """

    round_number: int
    contributors: tuple[str, ...]
    dropouts: Mapping[str, str]
    metrics: Mapping[str, float]
    site_metrics: Mapping[str, Mapping[str, float]]
    epsilon_spent: Mapping[str, float]
    update_norm: float
    model_digest: str
    seconds: float
    metric_errors: Mapping[str, float] = field(default_factory=dict[str, float])
    site_metric_errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    paid_performance: Mapping[str, Json] = field(default_factory=dict[str, Json])
    observed: Mapping[str, float] = field(default_factory=dict[str, float])
    exclusions: Mapping[str, str] = field(default_factory=dict[str, str])
    rolled_back: str = ""
    unopened: str = ""
    unevaluated: str = ""
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True)
class StudyResult:
    """A finished study: its rounds and its model."""

    manifest_digest: str
    rounds: tuple[RoundResult, ...]
    parameters: NDArray[np.float32] = field(repr=False)
    """Flat ``[num_parameters]``, in the layout of the model built from the manifest."""
    prepared: PreparedFeatures | None = None
    """The public map of the features that the model reads; ``None``: it reads them as the contract encodes them."""
    analyses: tuple[StudyAnalysis, ...] = ()
    """Exact statistics that the study agreed on."""
    resumed_from: int = 0
    """Rounds that were already complete when this run began."""
