"""What a round says about performance: exact sums where the study allows them, noisy counts where they are paid for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from aggregator.left_sums import LeavableSums, LeftSum
from aggregator.masked_rounds import evaluate_request, opened_statistics, statistics_request
from aggregator.rounds import collect_counts, collect_metrics, model_arrays
from aggregator.transport import Transport
from aggregator.witnessing import HeadKeeper
from federation.data.prepared_features import PreparedFeatures
from federation.documents import Json
from federation.models.metrics import MetricSums
from federation.models.noisy_metrics import NoisyCounts
from federation.models.noisy_performance import derive_performance
from federation.protocol.messages import Arrays
from federation.study.evaluation_tables import count_layout
from federation.study.manifest import StudyManifest

_Metrics = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Performance after a round; empty where nothing is released. Fields as in ``RoundResult``."""

    metrics: Mapping[str, float] = field(default_factory=_Metrics)
    site_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    metric_errors: Mapping[str, float] = field(default_factory=_Metrics)
    site_metric_errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    paid_performance: Mapping[str, Json] = field(default_factory=dict[str, Json])
    unopened: str = ""


def evaluate_round(
    study: StudyManifest,
    transport: Transport,
    *,
    round_number: int,
    parameters: NDArray[np.float32],
    keeper: HeadKeeper,
    prepared: PreparedFeatures | None = None,
    sums: LeavableSums | None = None,
) -> Evaluation:
    """Ask the sites how the model does, if the study evaluates after this round.

    Args:
        study: What was agreed.
        transport: How sites are reached.
        round_number: Rounds that the parameters have seen.
        parameters: Of the global model.
        keeper: Witnesses the ledgers that paid evaluations are charged to.
        prepared: The public map of the features, where the study pays for one.
        sums: Secure sums, in a study with secure aggregation.
    """
    if round_number not in study.evaluation_rounds():
        return Evaluation()
    if sums is not None:
        return _masked(study, sums, round_number=round_number, arrays=model_arrays(parameters, prepared), keeper=keeper)
    if study.evaluation.noise is None:
        exact = collect_metrics(study, transport, round_number=round_number, parameters=parameters, prepared=prepared)
        return exact_evaluation(study, exact)
    counts = collect_counts(
        study, transport, round_number=round_number, parameters=parameters, keeper=keeper, prepared=prepared
    )
    return paid_evaluation(study, counts)


def exact_evaluation(study: StudyManifest, sums: Mapping[str, MetricSums]) -> Evaluation:
    """Performance from exact sums by site; by site only where the study releases it so."""
    per_site = study.evaluation.release == "per_site"
    return Evaluation(
        metrics=reduce(add, sums.values()).derive() if sums else {},
        site_metrics={site: values.derive() for site, values in sums.items()} if per_site else {},
    )


def paid_evaluation(study: StudyManifest, counts: Mapping[str, NoisyCounts]) -> Evaluation:
    """Performance from noisy counts by site; by site only where the study releases it so."""
    noise = study.evaluation.noise
    if not counts or noise is None:
        return Evaluation()
    most = noise.max_records_per_patient
    everyone = derive_performance(reduce(add, counts.values()), max_records_per_patient=most)
    per_site = study.evaluation.release == "per_site"
    sites = {
        site: derive_performance(found, max_records_per_patient=most) for site, found in counts.items() if per_site
    }
    return Evaluation(
        metrics=everyone.values(),
        site_metrics={site: found.values() for site, found in sites.items()},
        metric_errors=everyone.errors(),
        site_metric_errors={site: found.errors() for site, found in sites.items()},
        paid_performance=everyone.as_data(),
    )


def _masked(
    study: StudyManifest, sums: LeavableSums, *, round_number: int, arrays: Arrays, keeper: HeadKeeper
) -> Evaluation:
    """Performance over all sites, from one secure sum; empty if that was left."""
    event, noise = study.evaluation_event(), study.evaluation.noise
    request = statistics_request(
        study,
        round_number=round_number,
        arrays=arrays,
        keeper=keeper,
        request_for=evaluate_request(study, keeper, round_number),
        event=event,
    )
    opened = sums.sum(request)
    if isinstance(opened, LeftSum):
        return Evaluation(unopened=opened.reason)
    found = opened_statistics(study, request.purpose, opened)
    named = {name.partition("/")[2]: values for name, values in found.items()}
    if event is None or noise is None:
        return Evaluation(metrics=MetricSums.from_arrays(study.objective, named).derive())
    counts = NoisyCounts.from_arrays(count_layout(study), named, variance=float(event.variance))
    counts = replace(counts, variance=counts.variance * len(opened.survivors), num_sites=len(opened.survivors))
    everyone = derive_performance(counts, max_records_per_patient=noise.max_records_per_patient)
    return Evaluation(metrics=everyone.values(), metric_errors=everyone.errors(), paid_performance=everyone.as_data())
