"""One round of five sites, stage by stage, with every message and phase at hand: the ground that lying servers stand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from federation.protocol.secure_sum.agreeing import Advertised, KeysAgreed, SharesHeld
from federation.protocol.secure_sum.collecting import AwaitingKeys, AwaitingShares, BatchReady
from federation.protocol.secure_sum.contributing import answer_unmask, sign_survivors
from federation.protocol.secure_sum.folding import AwaitingInputs, AwaitingSignatures
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.round_phases import RoundPhase
from federation.protocol.secure_sum.terms import KeyBatch
from federation.protocol.secure_sum.wire import HEAD_BYTES, Kind, write_list
from federation.protocol.signatures import SigningKey
from tests.federation.protocol.secure_sum.consortium import MODEL, STUDY, Consortium

SIZE = 4
BATCH = KeyBatch(purpose="train", first_round=1, rounds=2)


@dataclass
class Staged:
    """Five honest sites; every stage is made once, when it is first asked for."""

    consortium: Consortium = field(default_factory=lambda: Consortium.of(5))
    batch: KeyBatch = BATCH
    round_number: int = 1

    @property
    def sites(self) -> list[str]:
        return self.consortium.sites

    def key(self, site: str) -> SigningKey:
        return self.consortium.keys[site]

    @cached_property
    def advertised(self) -> dict[str, tuple[Advertised, bytes]]:
        return self.consortium.advertise(self.batch, self.sites)

    @cached_property
    def _keys(self) -> tuple[AwaitingShares, bytes]:
        server = AwaitingKeys(terms=self.consortium.terms, batch=self.batch)
        for _, message in self.advertised.values():
            server = server.add(message)
        return server.close()

    @property
    def key_list(self) -> bytes:
        return self._keys[1]

    def agree(self, site: str, key_list: bytes) -> tuple[KeysAgreed, bytes]:
        stream = self.consortium.streams.stream("staged", site, self.batch.attempt)
        return self.advertised[site][0].agree(key_list, signing_key=self.key(site), random_bytes=stream.bytes)

    @cached_property
    def agreed(self) -> dict[str, tuple[KeysAgreed, bytes]]:
        return {site: self.agree(site, self.key_list) for site in self.sites}

    @cached_property
    def _ready(self) -> tuple[BatchReady, dict[str, bytes]]:
        waiting = self._keys[0]
        for _, bundle in self.agreed.values():
            waiting = waiting.add(bundle)
        return waiting.close()

    @property
    def ready(self) -> BatchReady:
        return self._ready[0]

    @property
    def parcels(self) -> dict[str, bytes]:
        return self._ready[1]

    @cached_property
    def held(self) -> dict[str, SharesHeld]:
        return {site: self.agreed[site][0].hold(self.parcels[site]) for site in self.sites}

    def values(self, site: str) -> np.ndarray:
        return np.arange(SIZE) + 100 * self.sites.index(site)

    def contribute(self, site: str, **changes):
        values = changes.pop("values", self.values(site))
        number = changes.pop("round_number", self.round_number)
        return self.consortium.contribute(self.held[site], values, round_number=number, **changes)

    @cached_property
    def masked(self) -> dict[str, tuple[RoundPhase, bytes]]:
        made = {site: self.contribute(site) for site in self.sites}
        return {site: (phase, bytes(content)) for site, (phase, content) in made.items()}

    def inputs(self) -> AwaitingInputs:
        return AwaitingInputs.begin(
            self.ready, round_number=self.round_number, layout=Layout(updates=SIZE), model_hash=MODEL
        )

    @cached_property
    def _signing(self) -> tuple[AwaitingSignatures, bytes]:
        server = self.inputs()
        for _, content in self.masked.values():
            server = server.fold(content)
        return server.close()

    @property
    def announcement(self) -> bytes:
        return self._signing[1]

    @cached_property
    def signed(self) -> dict[str, tuple[RoundPhase, bytes]]:
        return {
            site: sign_survivors(phase, self.announcement, signing_key=self.key(site))
            for site, (phase, _) in self.masked.items()
        }

    @cached_property
    def _answering(self):
        server = self._signing[0]
        for _, signature in self.signed.values():
            server = server.add(signature)
        return server.close()

    @property
    def request(self) -> bytes:
        return self._answering[1]

    @property
    def answering(self):
        return self._answering[0]

    @cached_property
    def answered(self) -> dict[str, tuple[RoundPhase, bytes]]:
        return {
            site: answer_unmask(phase, self.request, signing_key=self.key(site))
            for site, (phase, _) in self.signed.items()
        }


def items(content: bytes) -> list[bytes]:
    """The items of a list message."""
    count = int.from_bytes(content[HEAD_BYTES - 2 : HEAD_BYTES], "big")
    size = (len(content) - HEAD_BYTES) // count
    return [content[start : start + size] for start in range(HEAD_BYTES, len(content), size)]


def relisted(content: bytes, chosen: list[bytes]) -> bytes:
    """A list message like this one with other items."""
    return write_list(Kind(content[4]), content[5:37], chosen)


def other_study() -> Staged:
    """The same sites and keys in another study."""
    return Staged(consortium=Consortium.of(5, study=STUDY[:-2] + "0d"))
