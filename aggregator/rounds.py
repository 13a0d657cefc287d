"""One round seen from the centre: ask, fold each reply into a running sum as it arrives, count who contributed.

Whatever the number of sites, one sum of one model's size is held, and at most 256 MiB of updates that are added together. A site
that refuses, vanishes or answers something the manifest does not allow is a drop-out with a reason code; below the quorum the
study stops.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.folding import WeightedFold, start_fold
from aggregator.left_sums import LeavableSums
from aggregator.masked_rounds import sum_updates
from aggregator.replies import (
    accepted_envelope,
    check_quorum,
    contribution_of,
    dropout_reason,
    received_arrays,
    replies_in_order,
)
from aggregator.transport import Transport
from aggregator.witnessing import HeadKeeper
from federation.algorithms.fedavg import State
from federation.data.prepared_features import PreparedFeatures
from federation.errors import CohortiumError, TransportError
from federation.models.metrics import MetricSums
from federation.models.noisy_metrics import CountLayout, NoisyCounts
from federation.privacy.events import SubsampledGaussian
from federation.privacy.promise import PatientLevelPrivacy
from federation.privacy.randomness import RandomStreams, fresh_streams
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.messages import (
    Arrays,
    Envelope,
    EvaluateReply,
    EvaluateRequest,
    Header,
    TrainReply,
    TrainRequest,
)
from federation.study.evaluation_tables import count_layout
from federation.study.manifest import StudyManifest

_LOG: Final = logging.getLogger("cohortium.rounds")


def collect_updates(  # noqa: PLR0913 - the parts of a round, all keyword-only but two
    manifest: StudyManifest,
    transport: Transport,
    *,
    round_number: int,
    parameters: NDArray[np.float32],
    broadcast: State,
    keeper: HeadKeeper | None = None,
    streams: RandomStreams | None = None,
    prepared: PreparedFeatures | None = None,
    sums: LeavableSums | None = None,
) -> WeightedFold:
    """Ask every site of the roster to train, and fold the updates.

    Sites are folded in roster order, whatever the order of arrival, so that every engine gives the same sum bit for bit.

    Args:
        manifest: What was agreed.
        transport: How sites are reached.
        round_number: From 1.
        parameters: What sites start from.
        broadcast: What the algorithm sends besides.
        keeper: Witnesses the ledgers of a private study; ``None`` begins anew.
        streams: For the noise of site-level privacy; ``None``: the operating system's.
        prepared: The public map of the features, where the study pays for one.
        sums: Secure sums, in a study with secure aggregation: then the updates themselves stay hidden.

    Raises:
        QuorumError: If fewer sites contribute than the manifest's quorum.
    """
    digest, keeper = manifest.digest, HeadKeeper({}) if keeper is None else keeper
    arrays = model_arrays(parameters, prepared)
    arrays |= {f"algorithm/{name}": vector for name, vector in broadcast.items()}
    if sums is not None:
        return sum_updates(
            manifest,
            sums,
            round_number=round_number,
            arrays=arrays,
            num_parameters=len(parameters),
            keeper=keeper,
        )
    requests = _train_requests(manifest, arrays, round_number=round_number, keeper=keeper)
    fold = start_fold(
        manifest,
        len(parameters),
        round_number=round_number,
        streams=fresh_streams() if streams is None else streams,
        are_handed_over=True,
    )
    for reply in replies_in_order(transport, requests):
        try:
            envelope = accepted_envelope(reply, digest)
            head = check_train_header(envelope.header, manifest, round_number)
            if isinstance(manifest.privacy, PatientLevelPrivacy):
                keeper.accept(reply.site, head)
            received = received_arrays(envelope, manifest.compression, num_parameters=len(parameters))
            if not fold.excludes(reply.site, received):
                weight = manifest.entry(reply.site).weight
                fold.add(reply.site, contribution_of(received), weight=weight)
        except CohortiumError as failure:
            fold.dropouts[reply.site] = dropout_reason(reply, failure)
    check_quorum(
        manifest, f"round {round_number}", contributors=fold.contributors, dropouts=fold.dropouts | fold.exclusions
    )
    return fold


def _train_requests(
    manifest: StudyManifest,
    arrays: dict[str, NDArray[np.float32] | NDArray[np.float64]],
    *,
    round_number: int,
    keeper: HeadKeeper,
) -> dict[str, bytes]:
    """By site: what it is asked, with the head of its ledger that was witnessed last."""
    return {
        entry.site: Envelope(
            TrainRequest(
                study=manifest.digest,
                site=entry.site,
                round_number=round_number,
                witnessed=keeper.witnessed(entry.site),
            ),
            arrays,
        ).to_bytes()
        for entry in manifest.roster
    }


def model_arrays(
    parameters: NDArray[np.float32], prepared: PreparedFeatures | None
) -> dict[str, NDArray[np.float32] | NDArray[np.float64]]:
    """What every request about a model carries."""
    arrays: dict[str, NDArray[np.float32] | NDArray[np.float64]] = {"parameters": parameters}
    if prepared is not None:
        arrays |= {f"preparation/{name}": vector for name, vector in prepared.to_arrays().items()}
    return arrays


def collect_metrics(
    manifest: StudyManifest,
    transport: Transport,
    *,
    round_number: int,
    parameters: NDArray[np.float32],
    prepared: PreparedFeatures | None = None,
) -> dict[str, MetricSums]:
    """Exact additive metrics of the sites that released theirs, by site; empty if the manifest releases none.

    A paid evaluation releases noisy counts instead: :func:`collect_counts`.
    """
    if manifest.evaluation.release == "none" or manifest.evaluation_event() is not None:
        return {}
    found: dict[str, MetricSums] = {}
    requests = _evaluate_requests(manifest, round_number, model_arrays(parameters, prepared), HeadKeeper({}))
    for site, _, envelope in _evaluations(manifest, transport, requests, round_number=round_number):
        try:
            found[site] = MetricSums.from_arrays(manifest.objective, envelope.named("metrics"))
        except TransportError as failure:
            _LOG.warning("metrics of site %s left out: %s", site, failure)
    return found


def collect_counts(
    manifest: StudyManifest,
    transport: Transport,
    *,
    round_number: int,
    parameters: NDArray[np.float32],
    keeper: HeadKeeper,
    prepared: PreparedFeatures | None = None,
) -> dict[str, NoisyCounts]:
    """Noisy counts of the sites that released theirs, by site; empty if the manifest pays for no evaluation.

    A site whose tables, event or ledger's head are not exactly what the manifest asks for is left out.
    """
    event = manifest.evaluation_event()
    if event is None:
        return {}
    layout = count_layout(manifest)
    found: dict[str, NoisyCounts] = {}
    requests = _evaluate_requests(manifest, round_number, model_arrays(parameters, prepared), keeper)
    for site, header, envelope in _evaluations(manifest, transport, requests, round_number=round_number):
        try:
            counts = _counts(envelope, layout, agreed=header.event == event, variance=event.variance)
            keeper.accept(site, header.head)
            found[site] = counts
        except TransportError as failure:
            _LOG.warning("counts of site %s left out: %s", site, failure)
    return found


def _counts(envelope: Envelope, layout: CountLayout, *, agreed: bool, variance: int) -> NoisyCounts:
    arrays = envelope.named("counts")
    if not agreed or len(arrays) != len(envelope.arrays):
        raise TransportError(
            "expected counts under the manifest's noise and nothing else, got other noise or more arrays"
        )
    return NoisyCounts.from_arrays(layout, arrays, variance=variance)


def _evaluate_requests(
    manifest: StudyManifest, round_number: int, arrays: Arrays, keeper: HeadKeeper
) -> dict[str, bytes]:
    digest = manifest.digest
    return {
        entry.site: Envelope(
            EvaluateRequest(
                study=digest, site=entry.site, round_number=round_number, witnessed=keeper.witnessed(entry.site)
            ),
            arrays,
        ).to_bytes()
        for entry in manifest.roster
    }


def _evaluations(
    manifest: StudyManifest, transport: Transport, requests: Mapping[str, bytes], *, round_number: int
) -> Iterator[tuple[str, EvaluateReply, Envelope]]:
    """The sites' evaluations after the round of the requests, in roster order; a site without one is left out."""
    for reply in replies_in_order(transport, requests):
        try:
            envelope = accepted_envelope(reply, manifest.digest)
        except CohortiumError as failure:
            _LOG.warning("no evaluation by site %s: %s", reply.site, failure)
            continue
        header = envelope.header
        if isinstance(header, EvaluateReply) and header.round_number == round_number:
            yield reply.site, header, envelope


def check_train_header(header: Header, manifest: StudyManifest, round_number: int) -> LedgerHead | None:
    """What a reply says of itself must be what the manifest allows; returns the head of the site's ledger."""
    if not isinstance(header, TrainReply) or header.round_number != round_number:
        raise TransportError(f"expected the update of round {round_number}, got {header.kind}")
    if isinstance(manifest.privacy, PatientLevelPrivacy):
        mechanism, event = manifest.mechanism(header.site), header.event
        agreed = isinstance(event, SubsampledGaussian) and (
            event.noise_multiplier >= mechanism.noise_multiplier
            and event.sampling_numerator <= mechanism.sampling_numerator
            and event.steps <= mechanism.steps_per_round
        )
        if not agreed:
            raise TransportError(f"expected site {header.site} to report the mechanism of the manifest, got another")
    return header.head
