"""A consortium in one process: sites and a server that pass bytes, for tests of the secure sum."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.protocol.secure_sum.agreeing import Advertised, KeysAgreed, SharesHeld
from federation.protocol.secure_sum.collecting import AwaitingKeys, BatchReady
from federation.protocol.secure_sum.contributing import Numbers, answer_unmask, mask_numbers, sign_survivors
from federation.protocol.secure_sum.folding import AwaitingInputs
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.opening import SecureSum
from federation.protocol.secure_sum.quantization import IntegerSource
from federation.protocol.secure_sum.round_phases import RoundPhase
from federation.protocol.secure_sum.terms import KeyBatch, SecureSumTerms
from federation.protocol.signatures import SigningKey

STUDY = "sha256:" + "0c" * 32
MODEL = b"m" * 32
STREAMS = seeded_streams(4, provenance="synthetic")


@dataclass
class Consortium:
    """Terms, and the keys of every site."""

    terms: SecureSumTerms
    keys: dict[str, SigningKey]
    streams: RandomStreams = field(default=STREAMS)

    @classmethod
    def of(cls, sites: int, *, threshold: int | None = None, study: str = STUDY) -> Consortium:
        keys = {
            f"site-{number:03}": SigningKey.from_bytes(STREAMS.stream("identity", number).bytes(32))
            for number in range(sites)
        }
        terms = SecureSumTerms.agreed(
            study=study,
            public_keys={site: key.public_key for site, key in keys.items()},
            threshold=threshold,
        )
        return cls(terms, keys)

    @property
    def sites(self) -> list[str]:
        return list(self.keys)

    def random_bytes(self, site: str, batch: KeyBatch):
        return self.streams.stream("keys", site, batch.purpose, batch.first_round, batch.attempt).bytes

    def advertise(self, batch: KeyBatch, sites: list[str]) -> dict[str, tuple[Advertised, bytes]]:
        return {
            site: Advertised.begin(
                self.terms, batch, site=site, signing_key=self.keys[site], random_bytes=self.random_bytes(site, batch)
            )
            for site in sites
        }

    def agree(self, batch: KeyBatch, *, advertise=None, deal=None) -> tuple[BatchReady, dict[str, SharesHeld]]:
        """Key agreement among those that advertise, of which some deal."""
        first = advertise or self.sites
        second = first if deal is None else deal
        made = self.advertise(batch, first)
        server = AwaitingKeys(terms=self.terms, batch=batch)
        for _, message in made.values():
            server = server.add(message)
        waiting, key_list = server.close()
        agreed: dict[str, KeysAgreed] = {}
        for site in second:
            stream = self.streams.stream("deal", site, batch.purpose, batch.first_round, batch.attempt)
            agreed[site], bundle = made[site][0].agree(key_list, signing_key=self.keys[site], random_bytes=stream.bytes)
            waiting = waiting.add(bundle)
        ready, outgoing = waiting.close()
        return ready, {site: agreed[site].hold(outgoing[site]) for site in second}

    def contribute(
        self, held: SharesHeld, values: np.ndarray, *, round_number: int, model=MODEL, earlier=None, statistics=None
    ):
        site = self.terms.members[held.index].site
        numbers = Numbers(
            updates=IntegerSource(values, largest=2**20, sites=len(self.keys), bits=32),
            statistics=None
            if statistics is None
            else IntegerSource(statistics, largest=2**50, sites=len(self.keys), bits=64),
        )
        return mask_numbers(
            held,
            numbers,
            round_number=round_number,
            model_hash=model,
            earlier=earlier,
            signing_key=self.keys[site],
        )


@dataclass(frozen=True)
class Lost:
    """When each site that drops out is last heard of in a round."""

    before_input: frozenset[str] = frozenset()
    before_signature: frozenset[str] = frozenset()
    before_answer: frozenset[str] = frozenset()


def run_round(
    consortium: Consortium,
    ready: BatchReady,
    held: dict[str, SharesHeld],
    values: dict[str, np.ndarray],
    *,
    round_number: int = 1,
    lost: Lost = Lost(),
    statistics: dict[str, np.ndarray] | None = None,
) -> SecureSum:
    """One honest round."""
    size = len(next(iter(values.values())))
    layout = Layout(updates=size, statistics=0 if statistics is None else len(next(iter(statistics.values()))))
    server = AwaitingInputs.begin(ready, round_number=round_number, layout=layout, model_hash=MODEL)
    phases: dict[str, RoundPhase] = {}
    for site in [site for site in held if site not in lost.before_input]:
        phases[site], message = consortium.contribute(
            held[site],
            values[site],
            round_number=round_number,
            statistics=None if statistics is None else statistics[site],
        )
        server = server.fold(message)
    waiting, announcement = server.close()
    gone = lost.before_signature
    for site in [site for site in phases if site not in gone]:
        phases[site], message = sign_survivors(phases[site], announcement, signing_key=consortium.keys[site])
        waiting = waiting.add(message)
    answers, request = waiting.close()
    gone = gone | lost.before_answer
    for site in [site for site in phases if site not in gone]:
        phases[site], message = answer_unmask(phases[site], request, signing_key=consortium.keys[site])
        answers = answers.add(message)
    return answers.open()
