"""What the centre makes of sites' replies, whatever they are to: in order, of the right site and study, enough of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import numpy as np

from aggregator.running_sums import FloatVector, is_finite
from aggregator.transport import SiteReply, Transport
from federation.errors import CohortiumError, InvalidInputError, QuorumError, TransportError
from federation.protocol.messages import PAYLOAD, Arrays, Envelope, Refusal, read_envelope
from federation.study.compression import CompressionSpec, decompress
from federation.study.manifest import StudyManifest

_UPDATE: Final = "update"
_OF_ALGORITHM: Final = "algorithm/"


def check_quorum(
    manifest: StudyManifest, where: str, *, contributors: Sequence[str], dropouts: Mapping[str, str]
) -> None:
    """Stop a study that too few sites contribute to.

    Args:
        manifest: What was agreed.
        where: ``round 7`` or ``preparation``.
        contributors: Sites whose contribution was accepted.
        dropouts: The others, with their reason codes.

    Raises:
        QuorumError: If fewer sites contribute than the manifest's quorum.
    """
    if len(contributors) >= manifest.aggregation.quorum:
        return
    reasons = ", ".join(f"{site}: {reason}" for site, reason in sorted(dropouts.items()))
    raise QuorumError(
        f"expected updates of at least {manifest.aggregation.quorum} sites in {where}, got {len(contributors)} ({reasons})",
        remedy="the sites' own logs say more; mend them and resume, or lower aggregation.quorum in a new version",
    )


def replies_in_order(transport: Transport, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
    """Replies in roster order, each as soon as those before it have come; early ones wait."""
    waiting: dict[str, SiteReply] = {}
    order = iter(requests)
    awaited = next(order, None)
    for reply in transport.exchange(requests):
        waiting[reply.site] = reply
        while awaited is not None and awaited in waiting:
            yield waiting.pop(awaited)
            awaited = next(order, None)
    while awaited is not None:
        yield waiting.pop(awaited, SiteReply(awaited, None, "unreachable"))
        awaited = next(order, None)


def accepted_envelope(reply: SiteReply, digest: str) -> Envelope:
    """The message of a site, if it is of that site and study.

    Raises:
        TransportError: If there is none, it does not parse, or it is another's.
    """
    if reply.content is None:
        raise TransportError(f"expected a reply of site {reply.site}, got none ({reply.reason})")
    envelope = read_envelope(reply.content)
    header = envelope.header
    if header.study != digest or header.site != reply.site:
        raise TransportError(f"expected a reply of site {reply.site} for study {digest}, got another's")
    return envelope


def dropout_reason(reply: SiteReply, failure: CohortiumError) -> str:
    """Reason code of a site that did not contribute: its own where it gave one. Never exception text."""
    if reply.content is None:
        return reply.reason or "unreachable"
    try:
        header = read_envelope(reply.content).header
    except CohortiumError:
        return type(failure).__name__
    return header.reason if isinstance(header, Refusal) else type(failure).__name__


def received_arrays(envelope: Envelope, compression: CompressionSpec | None, *, num_parameters: int) -> Arrays:
    """The arrays of a reply to training, the update whole again if it came compressed.

    Args:
        envelope: The reply.
        compression: Of the manifest.
        num_parameters: Length of an update.

    Raises:
        TransportError: If the update should be compressed and is not, or not as agreed.
    """
    if compression is None:
        return envelope.arrays
    if set(envelope.arrays) != {PAYLOAD}:
        raise TransportError(f"expected a compressed update and nothing else, got {sorted(envelope.arrays)}")
    try:
        content = np.asarray(envelope.arrays[PAYLOAD], dtype=np.uint8)
        return {_UPDATE: decompress(content, compression, size=num_parameters)}
    except InvalidInputError as failure:
        raise TransportError(failure.message) from failure


def contribution_of(arrays: Arrays) -> dict[str, FloatVector]:
    """What a reply adds to the round's sums: its update and what the algorithm sends, as they came, without a copy.

    Raises:
        TransportError: If there is no update, or a number is not finite.
    """
    if _UPDATE not in arrays:
        raise TransportError(f"expected array {_UPDATE!r} in a reply to training, got {sorted(arrays)}")
    found: dict[str, FloatVector] = {}
    for name, array in arrays.items():
        if array.dtype == np.uint8 or not (name == _UPDATE or name.startswith(_OF_ALGORITHM)):
            continue
        vector = cast("FloatVector", array)
        if not is_finite(vector):
            raise TransportError(f"expected finite numbers in array {name!r} of a reply to training")
        found[name] = vector
    return found
