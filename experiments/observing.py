"""What only a simulator can do, who holds all records: look at every round's model on all sites' test patients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.coordinator import Observe
from aggregator.held_out_gate import HeldOutLoss
from experiments.preparation import PreparedSites
from federation.data.prepared_features import PreparedFeatures
from federation.models.parameters import load
from federation.models.task_terms import CoxTerms, Objective, QuantileTerms
from federation.privacy.promise import NoPrivacy
from federation.study.manifest import StudyManifest
from federation.study.network import network_of
from site_client.evaluation import evaluate
from site_client.paid_preparation import prepared_dataset

_OBSERVED_BINS: Final = 200


def held_out_loss(sites: PreparedSites, manifest: StudyManifest) -> HeldOutLoss | None:
    """The aggregator's held-out records of a simulation: the test patients of all sites, which nobody trains on.

    In reality a consortium would hold public reference records. ``None`` where no round passes a gate, or for real patients.
    """
    masked = manifest.aggregation.masked
    if masked is None or masked.held_out_bound is None or manifest.cohort.provenance == "patients":
        return None
    figures = _figures_of(sites, manifest)
    return lambda parameters, prepared: loss_of(manifest.objective, figures(parameters, prepared))


def loss_of(task: Objective, figures: Mapping[str, float]) -> float:
    """The figure that a gate looks at: lower is better."""
    match task:
        case "regression":
            return figures["rmse"]
        case "count":
            return figures["deviance"]
        case QuantileTerms():
            return figures["pinball"]
        case CoxTerms():
            return 1 - figures["concordance"]
        case _:
            return figures["log_loss"]


def observer(sites: PreparedSites, manifest: StudyManifest) -> Observe | None:
    """What shows a simulation's convergence where the study itself releases nothing, or only noisy counts.

    The simulator holds all records, so it looks at all sites' test patients directly. That is no part of the study: nobody
    could look like this in reality, and it is refused for real patients. ``None`` without privacy: exact sums are
    released.
    """
    if isinstance(manifest.privacy, NoPrivacy) or manifest.cohort.provenance == "patients":
        return None
    return _figures_of(sites, manifest)


def _figures_of(sites: PreparedSites, manifest: StudyManifest) -> Observe:
    """Metrics of a study's parameters over all sites' test patients."""
    model = network_of(manifest, num_features=len(sites.data[0].test.feature_names))

    def figures(parameters: NDArray[np.float32], prepared: PreparedFeatures | None) -> Mapping[str, float]:
        load(model, parameters)
        found = [
            evaluate(model, prepared_dataset(site.test, prepared), task=manifest.objective, score_bins=_OBSERVED_BINS)
            for site in sites.data
        ]
        return reduce(add, found).derive()

    return figures
