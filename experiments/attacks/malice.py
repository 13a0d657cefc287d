"""What a malicious site sends instead of its update.

The first seven need nothing but the site's own training; the last two let the malicious sites know each other and every honest
update of the round, which no real attacker does so well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final, Literal, assert_never, get_args

import numpy as np
from numpy.random import Generator

from aggregator.transport import SiteReply, Transport
from federation.algorithms.fedavg import Vector
from federation.errors import InvalidInputError
from federation.privacy.randomness import RandomStreams
from federation.protocol.messages import Envelope, TrainReply, read_envelope
from site_client.patients import SiteData

Attack = Literal[
    "sign_flip",
    "scaling",
    "label_flip",
    "free_rider",
    "nan",
    "huge",
    "wrong_shape",
    "inner_product",
    "little_is_enough",
]
ATTACKS: Final[tuple[Attack, ...]] = get_args(Attack)
SIGN_FLIP: Final = -5.0
"""Against one site in five of equal weight, it takes the mean update below zero."""
SCALING: Final = 100.0
FREE_RIDER_SPREAD: Final = 1e-3
HUGE: Final = 1e30


def tampered(attack: Attack, own: Vector, *, honest: Sequence[Vector], faulty: int, generator: Generator) -> Vector:
    """What is sent instead of an update.

    Args:
        attack: What kind.
        own: The update that the site's training gave, ``[num_parameters]``.
        honest: Updates of the honest sites in this round.
        faulty: Number of malicious sites.
        generator: Of the malicious site.

    Returns:
        An update; of another length for ``wrong_shape``.
    """
    match attack:
        case "inner_product" | "little_is_enough":
            return _colluding(attack, honest, faulty)
        case "free_rider":
            return generator.normal(0.0, FREE_RIDER_SPREAD, len(own))
        case "wrong_shape":
            return own[:-1]
        case "nan" | "huge":
            return np.full(len(own), np.nan if attack == "nan" else HUGE)
        case "label_flip" | "sign_flip" | "scaling":
            # A model trained on flipped outcomes is sent as agreed.
            return {"label_flip": 1.0, "sign_flip": SIGN_FLIP, "scaling": SCALING}[attack] * own
        case _:
            assert_never(attack)


def _colluding(attack: Literal["inner_product", "little_is_enough"], honest: Sequence[Vector], faulty: int) -> Vector:
    """Against the mean: Xie, Koyejo & Gupta 2020 (arXiv 1903.03936), with epsilon 1.

    As far from the mean as still looks ordinary: Baruch, Baruch & Goldberg 2019 (arXiv 1902.06156), algorithm 3.
    """
    mean = np.mean(honest, axis=0)
    if attack == "inner_product":
        return -mean
    number = len(honest) + faulty
    supporters = number // 2 + 1 - faulty
    share = (number - faulty - supporters) / (number - faulty)
    reach = NormalDist().inv_cdf(min(max(share, 0.01), 0.99))
    return mean - reach * np.std(honest, axis=0)


def flipped(data: SiteData) -> SiteData:
    """A site whose training patients have the opposite binary outcome."""
    return replace(data, training=replace(data.training, outcomes=1 - data.training.known_outcomes))


@dataclass(frozen=True)
class MaliciousTransport:
    """A transport some of whose sites lie about their updates; everything else passes as it is.

    Args:
        inner: Reaches the sites.
        attack: What the malicious ones do.
        sites: The malicious ones.
        streams: Of the attack.
    """

    inner: Transport
    attack: Attack
    sites: frozenset[str]
    streams: RandomStreams

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """Wait for all replies, then let the malicious sites answer."""
        replies = list(self.inner.exchange(requests))
        sent = {reply.site: _training(reply) for reply in replies}
        honest = [_update(found) for site, found in sent.items() if found is not None and site not in self.sites]
        for reply in replies:
            found = sent[reply.site]
            if found is None or reply.site not in self.sites:
                yield reply
            else:
                yield SiteReply(reply.site, self._lie(found, honest))

    def _lie(self, envelope: Envelope, honest: Sequence[Vector]) -> bytes:
        header = envelope.header
        round_number = header.round_number if isinstance(header, TrainReply) else 0
        update = tampered(
            self.attack,
            _update(envelope),
            honest=honest,
            faulty=len(self.sites),
            generator=self.streams.stream(header.site, round_number),
        )
        return Envelope(header, {**envelope.arrays, "update": update.astype(np.float32)}).to_bytes()

    def close(self) -> None:
        """Close the transport beneath."""
        self.inner.close()


def _training(reply: SiteReply) -> Envelope | None:
    """The reply, if it holds an update.

    Raises:
        InvalidInputError: If the update is masked: numbers that nobody can read cannot be changed to order.
    """
    envelope = None if reply.content is None else read_envelope(reply.content)
    if envelope is None or not isinstance(envelope.header, TrainReply):
        return None
    if "update" not in envelope.arrays:
        raise InvalidInputError(
            f"expected a visible update from {reply.site}, got arrays {sorted(envelope.arrays)}",
            remedy="attack aggregation=plain or open_robust; a masked study is attacked before the update is masked",
        )
    return envelope


def _update(envelope: Envelope) -> Vector:
    return envelope.array("update")
