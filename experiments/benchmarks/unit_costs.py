"""What one site, one parameter and one pair of sites cost the aggregator: the prices that a scale plan multiplies.

See :mod:`experiments.benchmarks.scale_plan`. Seconds are the processor's, of one thread; a message's journey through
Flower is not in them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from aggregator.folding import WeightedFold
from experiments.benchmarks.benches import Bench, Effort, Found
from experiments.benchmarks.records import Figure
from federation.privacy.randomness import RandomStreams, fresh_streams
from federation.protocol.messages import Envelope, TrainReply, TrainRequest, read_envelope
from federation.protocol.secure_sum.agreeing import Advertised, KeysAgreed
from federation.protocol.secure_sum.collecting import AwaitingKeys
from federation.protocol.secure_sum.masking import Mask, mask
from federation.protocol.secure_sum.shamir import ELEMENT_BYTES, Recombination
from federation.protocol.secure_sum.terms import KeyBatch, SecureSumTerms
from federation.protocol.signatures import SigningKey

NAME: Final = "unit"
_SMALL: Final = 1_000
_LARGE: Final = 1_000_000
_STUDY: Final = "sha256:" + "0d" * 32
_SITES: Final = 30
_MASKS: Final = 8
_SHARES: Final = 200


def unit_cost_bench() -> Bench:
    """All prices."""
    return Bench(name=NAME, question="what a site, a parameter and a pair of sites cost the aggregator", run=_run)


def _run(effort: Effort) -> Found:
    return Found(figures=[*message_costs(effort.turns), *secure_costs(effort.turns)])


def _figure(name: str, question: str, value: float, unit: str) -> Figure:
    return Figure(name=f"unit_{name}", question=question, value=max(0.0, value), unit=unit)


def _seconds(work: Callable[[], object], turns: int) -> float:
    """Median seconds of the processor over so many turns, after one to warm up."""
    taken: list[float] = []
    for _ in range(turns + 1):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken[1:])


def message_costs(turns: int) -> tuple[Figure, ...]:
    """Writing a request, reading a reply, and folding it: per site, and per parameter of each site."""
    small, large = (
        {name: _seconds(work, turns) for name, work in _messages(size).items()} for size in (_SMALL, _LARGE)
    )
    per_parameter = {name: (large[name] - small[name]) / (_LARGE - _SMALL) for name in small}
    bytes_beside = _message_bytes(_SMALL) - 2 * 4 * _SMALL
    return (
        _figure("site_seconds", "request and reply of one site in one round", small["request"] + small["reply"], "s"),
        _figure(
            "message_seconds_per_parameter",
            "one parameter of one site's request and reply",
            per_parameter["request"] + per_parameter["reply"],
            "s",
        ),
        _figure("fold_seconds_per_parameter", "folding one parameter of one update", per_parameter["fold"], "s"),
        _figure("message_bytes", "request and reply of one site beside four bytes a parameter", bytes_beside, "bytes"),
    )


def _messages(size: int) -> dict[str, Callable[[], object]]:
    vector = np.zeros(size, dtype=np.float32)
    request = Envelope(TrainRequest(study=_STUDY, site="site-1", round_number=1), {"parameters": vector})
    reply = Envelope(TrainReply(study=_STUDY, site="site-1", round_number=1), {"update": vector}).to_bytes()
    fold = WeightedFold(size, threads=1)
    fold.add("site-0", {"update": vector}, weight=1.0)
    return {
        "request": request.to_bytes,
        "reply": lambda: read_envelope(reply),
        "fold": lambda: fold.add("site-1", {"update": vector}, weight=1.0),
    }


def _message_bytes(size: int) -> int:
    vector = np.zeros(size, dtype=np.float32)
    request = Envelope(TrainRequest(study=_STUDY, site="site-1", round_number=1), {"parameters": vector})
    reply = Envelope(TrainReply(study=_STUDY, site="site-1", round_number=1), {"update": vector})
    return len(request.to_bytes()) + len(reply.to_bytes())


def secure_costs(turns: int) -> tuple[Figure, ...]:
    """Masks, keys and shares of secure aggregation."""
    streams = fresh_streams().child("unit costs")
    words = np.zeros(_LARGE, dtype="<u4")

    def masks() -> None:
        keys = [streams.stream("mask", number).bytes(ELEMENT_BYTES) for number in range(_MASKS)]
        mask(np.empty(0, dtype="<u8"), words, [Mask(key, is_added=True) for key in keys])

    keys = [_agree(streams.child("keys", turn)) for turn in range(turns)]
    site, server, list_bytes, pair_bytes = (statistics.median(values) for values in zip(*keys, strict=True))
    points = range(1, _SHARES + 1)
    shares = {point: bytes(ELEMENT_BYTES) for point in points}
    recombination = Recombination(points)
    return (
        _figure(
            "mask_seconds_per_parameter",
            "one mask of one parameter",
            _seconds(masks, turns) / (_MASKS * _LARGE),
            "s",
        ),
        _figure("key_site_seconds", "agreeing on keys and sharing secrets, at a site, for each other site", site, "s"),
        _figure("key_server_seconds", "the same at the aggregator, for each ordered pair of sites", server, "s"),
        _figure("key_list_bytes", "one site's entry in the list of keys that every site is sent", list_bytes, "bytes"),
        _figure("key_pair_bytes", "sealed shares of one site for another, in and out", pair_bytes, "bytes"),
        _figure(
            "share_seconds",
            "one share of one secret that the aggregator recovers",
            _seconds(lambda: recombination.secret(shares), turns) / _SHARES,
            "s",
        ),
    )


def _agree(streams: RandomStreams) -> tuple[float, float, float, float]:
    """One round's keys for :data:`_SITES` sites: seconds a peer at a site, seconds a pair at the aggregator, and bytes."""
    keys = {f"site-{n:03}": SigningKey.from_bytes(streams.stream("identity", n).bytes(32)) for n in range(_SITES)}
    terms = SecureSumTerms.agreed(study=_STUDY, public_keys={site: key.public_key for site, key in keys.items()})
    batch = KeyBatch(purpose="train", first_round=1)
    server_seconds, site_seconds, server = 0.0, 0.0, AwaitingKeys(terms=terms, batch=batch)
    made: dict[str, Advertised] = {}
    for site, key in keys.items():
        made[site], message = Advertised.begin(
            terms, batch, site=site, signing_key=key, random_bytes=streams.stream("keys", site).bytes
        )
        started = time.process_time()
        server = server.add(message)
        server_seconds += time.process_time() - started
    started = time.process_time()
    waiting, key_list = server.close()
    server_seconds += time.process_time() - started
    agreed: dict[str, KeysAgreed] = {}
    sent = 0
    for site, key in keys.items():
        started = time.process_time()
        agreed[site], bundle = made[site].agree(
            key_list, signing_key=key, random_bytes=streams.stream("shares", site).bytes
        )
        site_seconds += time.process_time() - started
        started = time.process_time()
        waiting = waiting.add(bundle)
        server_seconds += time.process_time() - started
        sent += len(bundle)
    started = time.process_time()
    _, parcels = waiting.close()
    server_seconds += time.process_time() - started
    started = time.process_time()
    for site, phase in agreed.items():
        phase.hold(parcels[site])
    site_seconds += time.process_time() - started
    pairs, back = _SITES**2, sum(len(parcel) for parcel in parcels.values())
    return site_seconds / pairs, server_seconds / pairs, len(key_list) / _SITES, (sent + back) / pairs
