"""What masking costs: beside the bare key-streams, beside the primitives of Flower's SecAgg+, and in memory at the aggregator."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from experiments.benchmarks.alternation import Comparison
from federation.privacy.randomness import RandomStreams, fresh_streams
from federation.protocol.secure_sum.agreeing import Advertised, KeysAgreed, SharesHeld
from federation.protocol.secure_sum.collecting import AwaitingKeys, BatchReady
from federation.protocol.secure_sum.contributing import Numbers, mask_numbers
from federation.protocol.secure_sum.folding import AwaitingInputs
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.masking import BLOCK_BYTES, Mask, MaskStream, mask
from federation.protocol.secure_sum.opening import MASKS_AT_A_TIME
from federation.protocol.secure_sum.quantization import UpdateEncoding
from federation.protocol.secure_sum.terms import KeyBatch, SecureSumTerms
from federation.protocol.signatures import SigningKey

SIZES: Final = (100_000, 1_000_000, 10_000_000)
SITES: Final = (10, 50, 200)
_PEERS: Final = ((1_000_000, 10), (1_000_000, 50))
"""Where Flower's primitives and the plainest fused loop are measured too."""
_FUSED_BYTES: Final = 2**18
_KEY_BYTES: Final = 32
_WORD_BYTES: Final = 4
_CLIP: Final = 8.0
_Make = Callable[[int, int, RandomStreams], Callable[[], None]]


def _masking(size: int, sites: int, streams: RandomStreams) -> Callable[[], None]:
    """A site's work in a round: rounding, its own mask and one for each peer, all in one pass over the vector."""
    values = streams.stream("values", size).standard_normal(size, dtype=np.float32)
    encoding = UpdateEncoding(value_range=_CLIP, total_weight=sites, sites=sites)

    def work() -> None:
        generator = streams.stream("keys")
        source = encoding.source(values, weight=1, generator=generator)
        masks = [Mask(generator.bytes(_KEY_BYTES), is_added=number % 2 == 0) for number in range(sites)]
        narrow = np.empty(size, dtype="<u4")
        mask(np.empty(0, dtype="<u8"), narrow, masks, fill_32=source.write)

    return work


def _key_streams(size: int, streams_of: int, streams: RandomStreams) -> Callable[[], None]:
    """As many key-streams of as many words, and nothing done with them."""

    def work() -> None:
        generator = streams.stream("keys")
        scratch = memoryview(bytearray(BLOCK_BYTES))
        whole, rest = divmod(_WORD_BYTES * size, BLOCK_BYTES)
        for _ in range(streams_of):
            stream = MaskStream(generator.bytes(_KEY_BYTES))
            for _ in range(whole):
                stream.write(scratch)
            if rest:
                stream.write(scratch[:rest])

    return work


def _fused(size: int, sites: int, streams: RandomStreams) -> Callable[[], None]:
    """The plainest loop that rounds and masks: float32 rounding, plain AES-256-CTR and additions over one block after another."""
    values = streams.stream("values", size).standard_normal(size, dtype=np.float32)

    def work() -> None:
        generator = streams.stream("keys")
        ciphers = [_counter_mode(generator.bytes(_KEY_BYTES)) for _ in range(sites)]
        coins = _counter_mode(generator.bytes(_KEY_BYTES))
        zeros, scratch = bytes(_FUSED_BYTES), memoryview(bytearray(_FUSED_BYTES))
        words = np.frombuffer(scratch, dtype="<u4")
        masked = np.empty(size, dtype="<u4")
        scale = np.float32((2**24 - 1) / _CLIP)
        for start in range(0, size, len(words)):
            block = masked[start : start + len(words)]
            length = _WORD_BYTES * len(block)
            coins.update_into(zeros[:length], scratch[:length])
            scaled = np.clip(values[start : start + len(block)], -_CLIP, _CLIP) * scale
            scaled += words[: len(block)] * np.float32(2.0**-32)
            np.copyto(block.view("<i4"), np.floor(scaled, out=scaled), casting="unsafe")
            for cipher in ciphers:
                cipher.update_into(zeros[:length], scratch[:length])
                np.add(block, words[: len(block)], out=block)

    return work


def _counter_mode(key: bytes) -> CipherContext:
    return Cipher(AES256(key), CTR(bytes(16))).encryptor()


def _unmasking(size: int, sites: int, streams: RandomStreams) -> Callable[[], None]:
    """The aggregator takes the masks of as many survivors from the sum, in the steps of ``AwaitingAnswers.open``."""
    narrow = np.zeros(size, dtype="<u4")

    def work() -> None:
        generator = streams.stream("keys")
        for start in range(0, sites, MASKS_AT_A_TIME):
            some = range(start, min(start + MASKS_AT_A_TIME, sites))
            mask(np.empty(0, dtype="<u8"), narrow, [Mask(generator.bytes(_KEY_BYTES), is_added=False) for _ in some])

    return work


def _flower(size: int, sites: int, streams: RandomStreams) -> Callable[[], None]:
    """The same with the primitives of Flower's SecAgg+: quantise, one pseudo-random vector for each peer, additions."""
    values = streams.stream("values", size).standard_normal(size, dtype=np.float32)

    def work() -> None:
        from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition, parameters_subtraction
        from flwr.common.secure_aggregation.quantization import quantize
        from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

        generator = streams.stream("keys")
        vector = quantize([values], _CLIP, 1 << 22)  # pyright: ignore[reportArgumentType] - its own annotation is narrower
        for number in range(sites):
            noise = pseudo_rand_gen(generator.bytes(_KEY_BYTES), 1 << 32, [(size,)])
            vector = (parameters_addition if number % 2 == 0 else parameters_subtraction)(vector, noise)

    return work


def _once(make: _Make, size: int, sites: int, streams: RandomStreams) -> Callable[[], None]:
    """The work, whose values are made before it is first measured (warming up) and not before it is wanted."""
    made: list[Callable[[], None]] = []

    def work() -> None:
        if not made:
            made.append(make(size, sites, streams))
        made[0]()

    return work


def secure_sum_comparisons() -> tuple[Comparison, ...]:
    """Masking and unmasking beside bare key-streams, and masking beside the plainest fused loop and Flower's primitives."""
    streams = fresh_streams().child("benchmark")
    found = [
        Comparison(
            name=f"{name}_{size:.0e}_{sites}".replace("e+0", "e"),
            question=f"{name} {size:,} parameters for {sites} sites / {sites} bare key-streams as long",
            ours=_once(make, size, sites, streams),
            floor=_once(_key_streams, size, sites, streams),
            unit=unit,
        )
        for name, make, unit in (("masking", _masking, "contribution"), ("unmasking", _unmasking, "sum"))
        for size in SIZES
        for sites in SITES
    ]
    found += [
        Comparison(
            name=f"{name}_{size:.0e}_{sites}".replace("e+0", "e"),
            question=f"masking {size:,} parameters for {sites} sites / the same {peer}",
            ours=_once(_masking, size, sites, streams),
            floor=_once(make, size, sites, streams),
            unit="contribution",
        )
        for name, make, peer in (
            ("fused_masking", _fused, "in the plainest fused loop: rounding, AES-256-CTR, additions"),
            ("flower_masking", _flower, "with Flower's SecAgg+ primitives"),
        )
        for size, sites in _PEERS
    ]
    return tuple(found)


def fold_peak_bytes(sites: int, *, size: int = 100_000) -> int:
    """Most memory that Python allocates while the aggregator folds the contributions of a round, each made when it is due.

    Args:
        sites: Number of sites.
        size: Parameters.
    """
    streams = fresh_streams()
    keys = {f"site-{n:03}": SigningKey.from_bytes(streams.stream("identity", n).bytes(32)) for n in range(sites)}
    terms = SecureSumTerms.agreed(
        study="sha256:" + "0c" * 32, public_keys={site: key.public_key for site, key in keys.items()}
    )
    ready, held = _agreed(terms, keys, streams)
    encoding = UpdateEncoding(value_range=1.0, total_weight=sites, sites=sites)
    update = np.zeros(size, dtype=np.float32)

    def contribution(site: str) -> bytearray:
        source = encoding.source(update, weight=1, generator=streams.stream("rounding", site))
        return mask_numbers(
            held[site],
            Numbers(updates=source),
            round_number=1,
            model_hash=bytes(32),
            earlier=None,
            signing_key=keys[site],
        )[1]

    inputs = AwaitingInputs.begin(ready, round_number=1, layout=Layout(updates=size), model_hash=bytes(32))
    most = 0
    for site in held:
        sent = contribution(site)
        tracemalloc.start()
        inputs = inputs.fold(sent)
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return most


def _agreed(
    terms: SecureSumTerms, keys: dict[str, SigningKey], streams: RandomStreams
) -> tuple[BatchReady, dict[str, SharesHeld]]:
    """One round's keys and shares of all sites."""
    batch = KeyBatch(purpose="train", first_round=1)
    server = AwaitingKeys(terms=terms, batch=batch)
    made: dict[str, Advertised] = {}
    for site, key in keys.items():
        source = streams.stream("keys", site).bytes
        made[site], message = Advertised.begin(terms, batch, site=site, signing_key=key, random_bytes=source)
        server = server.add(message)
    waiting, key_list = server.close()
    agreed: dict[str, KeysAgreed] = {}
    for site, key in keys.items():
        source = streams.stream("shares", site).bytes
        agreed[site], bundle = made[site].agree(key_list, signing_key=key, random_bytes=source)
        waiting = waiting.add(bundle)
    ready, parcels = waiting.close()
    return ready, {site: phase.hold(parcels[site]) for site, phase in agreed.items()}
