"""Every message and phase of one honest round, for tests that change one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from federation.protocol.secure_sum import contexts
from federation.protocol.secure_sum.agreeing import Advertised, KeysAgreed, SharesHeld
from federation.protocol.secure_sum.collecting import AwaitingKeys, AwaitingShares, BatchReady
from federation.protocol.secure_sum.contributing import answer_unmask, sign_survivors
from federation.protocol.secure_sum.folding import AwaitingInputs, AwaitingSignatures
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.messages import RECEIPT_BYTES
from federation.protocol.secure_sum.opening import AwaitingAnswers
from federation.protocol.secure_sum.round_phases import RoundPhase
from federation.protocol.secure_sum.terms import KeyBatch
from federation.protocol.secure_sum.wire import HEAD_BYTES, SIGNATURE_BYTES, Kind, write_frame, write_list
from tests.federation.protocol.secure_sum.consortium import MODEL, STUDY, Consortium

BATCH = KeyBatch(purpose="train", first_round=1, rounds=2)
SITES = 5
CONSPIRATOR = 4
"""The server holds this site's signing key where a strategy needs one."""
SIZE = 6


@dataclass
class Scene:
    """What was sent and stored, by site."""

    consortium: Consortium
    batch: KeyBatch
    round_number: int
    advertised: dict[str, Advertised] = field(default_factory=dict)
    advertisements: list[bytes] = field(default_factory=list)
    key_list: bytes = b""
    agreed: dict[str, KeysAgreed] = field(default_factory=dict)
    bundles: dict[str, bytes] = field(default_factory=dict)
    parcels: dict[str, bytes] = field(default_factory=dict)
    held: dict[str, SharesHeld] = field(default_factory=dict)
    masked: dict[str, RoundPhase] = field(default_factory=dict)
    contributions: dict[str, bytes] = field(default_factory=dict)
    announcement: bytes = b""
    signed: dict[str, RoundPhase] = field(default_factory=dict)
    signatures: dict[str, bytes] = field(default_factory=dict)
    request: bytes = b""
    unmasked: dict[str, RoundPhase] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    awaiting_keys: AwaitingKeys | None = None
    awaiting_shares: AwaitingShares | None = None
    ready: BatchReady | None = None
    awaiting_signatures: AwaitingSignatures | None = None
    awaiting_answers: AwaitingAnswers | None = None

    @property
    def terms(self):
        return self.consortium.terms

    @property
    def sites(self) -> list[str]:
        return list(self.advertised)

    @property
    def honest(self) -> list[str]:
        return self.sites[:CONSPIRATOR]

    @property
    def batch_context(self) -> bytes:
        return self.batch.context(self.terms)

    @property
    def agreement(self) -> bytes:
        return self.ready.agreement

    @property
    def context(self) -> bytes:
        return contexts.round_context(self.agreement, holders=self.ready.holders, round_number=self.round_number)

    @property
    def receipts(self) -> list[bytes]:
        return [message[-RECEIPT_BYTES:] for message in self.contributions.values()]

    def key(self, index: int):
        return self.consortium.keys[self.consortium.sites[index]]

    def frame(self, kind: Kind, context: bytes, body: bytes, *, sender: int = CONSPIRATOR) -> bytes:
        """A frame with that site's genuine signature."""
        return write_frame(kind, context, sender, body, key=self.key(sender))

    def keys(self, items: Sequence[bytes]) -> bytes:
        return write_list(Kind.KEY_LIST, self.batch_context, items)

    def with_conspirator(self, body: bytes) -> bytes:
        """The list of keys with another advertisement of the conspirator."""
        return self.keys([*self.advertisements[:CONSPIRATOR], self.frame(Kind.ADVERTISEMENT, self.batch_context, body)])

    def announce(self, receipts: Sequence[bytes]) -> bytes:
        return write_list(Kind.SURVIVORS, self.context, receipts)

    def ask(self, signatures: Sequence[bytes]) -> bytes:
        return write_list(Kind.UNMASK, self.context, signatures)

    def inputs(self) -> AwaitingInputs:
        return AwaitingInputs.begin(
            self.ready, round_number=self.round_number, layout=Layout(updates=SIZE), model_hash=MODEL
        )


def body_of(frame: bytes) -> bytes:
    return frame[HEAD_BYTES:-SIGNATURE_BYTES]


def flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


@cache
def scene(*, study: str = STUDY, batch: KeyBatch = BATCH, round_number: int = 1, absent: int = 0) -> Scene:
    """An honest round of five sites, of which some never advertise."""
    consortium = Consortium.of(SITES, study=study)
    made = Scene(consortium, batch, round_number)
    _agree(made, consortium.sites[: SITES - absent])
    _sum(made)
    return made


def _agree(made: Scene, sites: list[str]) -> None:
    consortium = made.consortium
    server = AwaitingKeys(terms=made.terms, batch=made.batch)
    for site, (phase, message) in consortium.advertise(made.batch, sites).items():
        made.advertised[site] = phase
        made.advertisements.append(message)
        server = server.add(message)
    made.awaiting_keys = server
    made.awaiting_shares, made.key_list = server.close()
    for site in sites:
        stream = consortium.streams.stream("deal", site, made.batch.purpose, made.batch.attempt)
        made.agreed[site], made.bundles[site] = made.advertised[site].agree(
            made.key_list, signing_key=consortium.keys[site], random_bytes=stream.bytes
        )
        made.awaiting_shares = made.awaiting_shares.add(made.bundles[site])
    made.ready, made.parcels = made.awaiting_shares.close()
    made.held = {site: made.agreed[site].hold(made.parcels[site]) for site in sites}


def _sum(made: Scene) -> None:
    keys = made.consortium.keys
    server = made.inputs()
    for site, held in made.held.items():
        values = np.arange(SIZE, dtype=np.int64) + held.index
        made.masked[site], message = made.consortium.contribute(held, values, round_number=made.round_number)
        made.contributions[site] = bytes(message)
        server = server.fold(message)
    made.awaiting_signatures, made.announcement = server.close()
    waiting = made.awaiting_signatures
    for site, phase in made.masked.items():
        made.signed[site], made.signatures[site] = sign_survivors(phase, made.announcement, signing_key=keys[site])
        waiting = waiting.add(made.signatures[site])
    made.awaiting_answers, made.request = waiting.close()
    for site, phase in made.signed.items():
        made.unmasked[site], made.answers[site] = answer_unmask(phase, made.request, signing_key=keys[site])
