"""Paid preparation at the centre: ask every site once, sum the noisy counts, derive the public map, keep it.

The map is durable before the first round is asked for: a site answers a round for one request only, so a restart has to send the
same bytes.
"""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.checkpoints import CheckpointStore
from aggregator.masked_rounds import opened_statistics, prepare_request, statistics_request
from aggregator.replies import accepted_envelope, check_quorum, dropout_reason, replies_in_order
from aggregator.secure_sums import SecureSums
from aggregator.transport import Transport
from aggregator.witnessing import HeadKeeper
from federation.data.preparation import PreparationSpec, count_layout
from federation.data.prepared_features import PreparedFeatures, derive
from federation.errors import CohortiumError, TransportError
from federation.protocol.messages import Envelope, PrepareReply, PrepareRequest
from federation.study.manifest import StudyManifest

_LOG: Final = logging.getLogger("cohortium.preparation")


def prepare_features(
    study: StudyManifest,
    transport: Transport,
    *,
    checkpoints: CheckpointStore,
    keeper: HeadKeeper,
    sums: SecureSums | None = None,
) -> PreparedFeatures | None:
    """The public map of the features: kept from an earlier start, or paid for now.

    Args:
        study: What was agreed.
        transport: How sites are reached.
        checkpoints: Where the map is kept.
        keeper: Witnesses the ledgers that are charged; gets the kept heads after a restart.
        sums: Secure sums, in a study with secure aggregation.

    Returns:
        ``None`` if the study pays for no preparation.

    Raises:
        QuorumError: If fewer sites answer than the manifest's quorum.
        CheckpointError: If the kept map is damaged or of another study.
    """
    if study.preparation is None:
        return None
    kept = checkpoints.preparation()
    if kept is not None:
        prepared, heads = kept
        for site, head in heads.items():
            keeper.accept(site, head)
        return prepared
    if sums is None:
        prepared = _paid(study, study.preparation, transport, keeper=keeper)
    else:
        request = statistics_request(
            study,
            round_number=0,
            arrays={},
            keeper=keeper,
            request_for=prepare_request(study, keeper),
            event=study.preparation_event(),
        )
        opened = sums.sum(request)
        counts = opened_statistics(study, request.purpose, opened)["counts"]
        prepared = derive(counts, spec=study.preparation, contract=study.contract, num_sites=len(opened.survivors))
    checkpoints.save_preparation(prepared, keeper.heads)
    return prepared


def _paid(study: StudyManifest, spec: PreparationSpec, transport: Transport, *, keeper: HeadKeeper) -> PreparedFeatures:
    digest, size = study.digest, count_layout(spec, study.contract).size
    requests = {
        entry.site: Envelope(
            PrepareRequest(study=digest, site=entry.site, witnessed=keeper.witnessed(entry.site))
        ).to_bytes()
        for entry in study.roster
    }
    total = np.zeros(size)
    contributors: list[str] = []
    dropouts: dict[str, str] = {}
    for reply in replies_in_order(transport, requests):
        try:
            envelope = accepted_envelope(reply, digest)
            counts = _counts(envelope, study, size=size)
            keeper.accept(reply.site, envelope.header.head if isinstance(envelope.header, PrepareReply) else None)
            total += counts
            contributors.append(reply.site)
        except CohortiumError as failure:
            dropouts[reply.site] = dropout_reason(reply, failure)
    check_quorum(study, "preparation", contributors=contributors, dropouts=dropouts)
    prepared = derive(total, spec=spec, contract=study.contract, num_sites=len(contributors))
    lost = tuple(f"{site}: counted nobody ({reason})" for site, reason in dropouts.items())
    for notice in (*prepared.notices, *lost):
        _LOG.warning("preparation: %s", notice)
    return prepared.model_copy(update={"notices": (*prepared.notices, *lost)})


def _counts(envelope: Envelope, study: StudyManifest, *, size: int) -> NDArray[np.float64]:
    header = envelope.header
    if not isinstance(header, PrepareReply) or header.event != study.preparation_event():
        raise TransportError(f"expected counts under the manifest's noise, got {header.kind} or another noise")
    counts = envelope.array("counts")
    if len(envelope.arrays) != 1 or counts.shape != (size,) or not np.array_equal(counts, np.rint(counts)):
        raise TransportError(f"expected {size} whole numbers and nothing else, got {sorted(envelope.arrays)}")
    return counts
