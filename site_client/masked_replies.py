"""From a reply that was charged, checked and kept at the site to the masked numbers that leave it.

The plain reply stays. What leaves holds the same header and one payload, which is uniform noise to whoever does not hold the sum of
all sites.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federation.errors import InternalError, PrivacyRefusedError, TransportError
from federation.protocol.messages import (
    Envelope,
    EvaluateReply,
    PrepareReply,
    PrepareRequest,
    Request,
    TrainReply,
    read_envelope,
)
from federation.protocol.secure_sum.contributing import Numbers
from federation.protocol.secure_sum.messages import RECEIPT_BYTES
from federation.protocol.secure_sum.quantization import LARGEST_64, IntegerSource
from federation.protocol.secure_sum.terms import KeyBatch
from federation.study.manifest import StudyManifest
from federation.study.masked_spec import statistics_encoding
from federation.study.secure_sums import purpose_of
from site_client.secure_participant import SecureParticipant
from site_client.study_replies import SUM


def masked_reply(reply: bytes, request: Envelope, *, manifest: StudyManifest, participant: SecureParticipant) -> bytes:
    """Mask a reply of a study with secure aggregation.

    Args:
        reply: Bytes of the plain reply, charged and kept. They stay at the site.
        request: What was asked: it names the batch of keys, and its arrays are what the site received.
        manifest: Of the study.
        participant: The site's memory of its secure sums.

    Returns:
        Bytes of the masked reply.

    Raises:
        PrivacyRefusedError: If the request names no batch of keys: nothing leaves such a study in the open.
        TransportError: If the batch is for another purpose.
        SecureSumRefusedError: If the site cannot or must not mask under these keys.
    """
    header = request.header
    if not isinstance(header, Request):
        raise InternalError(f"expected a request whose answer is masked, got {header.kind}")
    batch = header.batch
    if batch is None:
        raise PrivacyRefusedError("expected keys to mask the answer with, got a request for numbers in the open")
    purpose = purpose_of(header)
    if batch.purpose != purpose:
        raise TransportError(f"expected keys for {purpose!r}, got keys for {batch.purpose!r}")
    round_number = 0 if isinstance(header, PrepareRequest) else header.round_number
    plain = read_envelope(reply)
    numbers = _numbers(plain, manifest, participant=participant, batch=batch, round_number=round_number)
    payload = participant.contribution(
        batch, round_number=round_number, model_hash=request.content_hash(), numbers=numbers
    )
    if len(payload) != numbers.layout.payload_bytes + RECEIPT_BYTES:
        raise InternalError("expected masked numbers of the agreed layout, got another length")
    return plain.with_payload(payload).to_bytes()


def _numbers(
    reply: Envelope, manifest: StudyManifest, *, participant: SecureParticipant, batch: KeyBatch, round_number: int
) -> Numbers:
    spec, site = manifest.aggregation.masked, participant.site
    if spec is None:
        raise InternalError("expected a study with secure aggregation")
    sites = len(manifest.roster)
    if isinstance(reply.header, TrainReply) and manifest.noise_share() is not None:
        # Never rounded or clipped again: that would change what the noise was calibrated for.
        whole = reply.array(SUM).astype(np.int64)
        return Numbers(statistics=IntegerSource(whole, largest=LARGEST_64 // sites, sites=sites, bits=64))
    if isinstance(reply.header, TrainReply):
        encoding = spec.updates(sum(int(entry.weight) for entry in manifest.roster), sites=sites)
        source = encoding.source(
            within_norm(reply.array("update"), spec.norm_bound),
            weight=int(manifest.entry(site).weight),
            generator=participant.rounding(batch, round_number).stream("update"),
        )
        return Numbers(updates=source)
    if not isinstance(reply.header, EvaluateReply | PrepareReply):
        raise InternalError(f"expected a reply to mask, got {reply.header.kind}")
    values = np.concatenate([reply.array(name) for name in sorted(reply.arrays)])
    return Numbers(statistics=statistics_encoding(sites).source(values))


def within_norm(update: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """The update, shortened to the bound if it is longer.

    Args:
        update: ``[D]``, finite.
        bound: On its L2 norm, positive.
    """
    length = float(np.linalg.norm(update))
    return update if length <= bound else update * (bound / length)
