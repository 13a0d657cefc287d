"""One round seen from the centre: ask, fold each reply into a running sum as it arrives, count who contributed.

Whatever the number of sites, one sum of one model's size is held. A site that refuses, vanishes or answers something the
manifest does not allow is a drop-out with a reason code; below the quorum the study stops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aggregator.transport import SiteReply, Transport
from federation.algorithms.fedavg import State, Vector
from federation.errors import CohortiumError, QuorumError, TransportError
from federation.models.metrics import MetricSums
from federation.privacy.promise import PatientLevelPrivacy
from federation.protocol.messages import (
    Envelope,
    EvaluateReply,
    EvaluateRequest,
    Refusal,
    TrainReply,
    TrainRequest,
    read_envelope,
)
from federation.study.manifest import StudyManifest


@dataclass
class WeightedFold:
    """Running weighted sums of the contributions of one round, in float64."""

    num_parameters: int
    sums: dict[str, Vector] = field(default_factory=dict)
    total_weight: float = 0.0
    contributors: list[str] = field(default_factory=list)
    dropouts: dict[str, str] = field(default_factory=dict)

    def add(self, site: str, contribution: Mapping[str, Vector], *, weight: float) -> None:
        """Fold one site's vectors in and forget them.

        Raises:
            TransportError: If a vector has the wrong length or the names differ from those of the other sites.
        """
        names = set(contribution)
        if self.sums and names != set(self.sums):
            raise TransportError(f"expected contributions {sorted(self.sums)} of every site, got {sorted(names)}")
        for name, vector in contribution.items():
            if vector.shape != (self.num_parameters,):
                raise TransportError(f"expected {self.num_parameters} numbers in {name!r}, got {vector.shape}")
        for name, vector in contribution.items():
            if name in self.sums:
                self.sums[name] += weight * vector
            else:
                self.sums[name] = weight * vector
        self.total_weight += weight
        self.contributors.append(site)

    def means(self) -> dict[str, Vector]:
        """Weighted means over the contributors."""
        return {name: total / self.total_weight for name, total in self.sums.items()}


def collect_updates(
    manifest: StudyManifest,
    transport: Transport,
    *,
    round_number: int,
    parameters: NDArray[np.float32],
    broadcast: State,
) -> WeightedFold:
    """Ask every site of the roster to train, and fold the updates.

    Sites are folded in roster order, whatever the order of arrival, so that every engine gives the same sum bit for bit.

    Raises:
        QuorumError: If fewer sites contribute than the manifest's quorum.
    """
    digest = manifest.digest
    arrays = {"parameters": parameters} | {f"algorithm/{name}": vector for name, vector in broadcast.items()}
    requests = {
        entry.site: Envelope(TrainRequest(study=digest, site=entry.site, round_number=round_number), arrays).to_bytes()
        for entry in manifest.roster
    }
    fold = WeightedFold(num_parameters=len(parameters))
    for reply in _in_order(transport, requests):
        try:
            envelope = _accepted(reply, digest)
            contribution = _contribution(envelope, manifest, round_number)
            fold.add(reply.site, contribution, weight=manifest.entry(reply.site).weight)
        except CohortiumError as failure:
            fold.dropouts[reply.site] = _reason(reply, failure)
    if len(fold.contributors) < manifest.aggregation.quorum:
        reasons = ", ".join(f"{site}: {reason}" for site, reason in sorted(fold.dropouts.items()))
        raise QuorumError(
            f"expected updates of at least {manifest.aggregation.quorum} sites in round {round_number}, got "
            f"{len(fold.contributors)} ({reasons})",
            remedy="the sites' own logs say more; mend them and resume, or lower aggregation.quorum in a new version",
        )
    return fold


def collect_metrics(
    manifest: StudyManifest, transport: Transport, *, round_number: int, parameters: NDArray[np.float32]
) -> dict[str, MetricSums]:
    """Additive metrics of the sites that released theirs, by site; empty if the manifest releases none."""
    if manifest.evaluation.release == "none":
        return {}
    digest = manifest.digest
    requests = {
        entry.site: Envelope(
            EvaluateRequest(study=digest, site=entry.site, round_number=round_number), {"parameters": parameters}
        ).to_bytes()
        for entry in manifest.roster
    }
    sums: dict[str, MetricSums] = {}
    for reply in _in_order(transport, requests):
        try:
            envelope = _accepted(reply, digest)
        except CohortiumError:
            continue
        if isinstance(envelope.header, EvaluateReply) and envelope.header.round_number == round_number:
            sums[reply.site] = MetricSums.from_arrays(manifest.task, envelope.named("metrics"))
    return sums


def _in_order(transport: Transport, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
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


def _accepted(reply: SiteReply, digest: str) -> Envelope:
    if reply.content is None:
        raise TransportError(f"expected a reply of site {reply.site}, got none ({reply.reason})")
    envelope = read_envelope(reply.content)
    header = envelope.header
    if header.study != digest or header.site != reply.site:
        raise TransportError(f"expected a reply of site {reply.site} for study {digest}, got another's")
    return envelope


def _contribution(envelope: Envelope, manifest: StudyManifest, round_number: int) -> dict[str, Vector]:
    header = envelope.header
    if not isinstance(header, TrainReply) or header.round_number != round_number:
        raise TransportError(f"expected the update of round {round_number}, got {header.kind}")
    if isinstance(manifest.privacy, PatientLevelPrivacy):
        mechanism, event = manifest.mechanism(header.site), header.event
        agreed = event is not None and (
            event.noise_multiplier >= mechanism.noise_multiplier
            and event.sampling_numerator <= mechanism.sampling_numerator
            and event.steps <= mechanism.steps_per_round
        )
        if not agreed:
            raise TransportError(f"expected site {header.site} to report the mechanism of the manifest, got another")
    return {"update": envelope.array("update")} | {
        f"algorithm/{name}": vector for name, vector in envelope.named("algorithm").items()
    }


def _reason(reply: SiteReply, failure: CohortiumError) -> str:
    if reply.content is None:
        return reply.reason or "unreachable"
    try:
        header = read_envelope(reply.content).header
    except CohortiumError:
        return type(failure).__name__
    return header.reason if isinstance(header, Refusal) else type(failure).__name__
