"""What the centre makes of sites' replies, whatever they are to: in order, of the right site and study, enough of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aggregator.transport import SiteReply, Transport
from federation.errors import CohortiumError, QuorumError, TransportError
from federation.protocol.messages import Envelope, Refusal, read_envelope
from federation.study.manifest import StudyManifest


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
