"""Secure sums of statistics: the centre's part of the protocol, keys for several sums at a time.

The phases are those of :mod:`federation.protocol.secure_sum`; a site is lost when it does not answer or answers wrongly, and a
sum is opened of at least the terms' minimum of sites or not at all.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from aggregator.statistics.links import Links, Summed
from federation.errors import QuorumError, SecureSumError, SecureSumRefusedError, TransportError
from federation.protocol.messages import SecureSumRequest
from federation.protocol.secure_sum.collecting import AwaitingKeys, AwaitingShares, BatchReady
from federation.protocol.secure_sum.folding import AwaitingInputs, AwaitingSignatures
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.opening import AwaitingAnswers, SecureSum
from federation.protocol.secure_sum.terms import KeyBatch, SecureSumTerms
from federation.statistics.requests import StepRequest

PURPOSE: Final = "statistics"
_Kind = Literal[
    "key_agreement_request/1", "shares_request/1", "parcels_request/1", "consistency_request/1", "unmask_request/1"
]
_Collecting = TypeVar("_Collecting", AwaitingKeys, AwaitingShares, AwaitingSignatures, AwaitingAnswers)


@dataclass
class MaskedSums:
    """Takes secure sums over sites.

    Args:
        links: To the sites.
        terms: Members, threshold and fewest survivors.
        sums_per_agreement: Sums for which the sites agree on keys at once.
    """

    links: Links
    terms: SecureSumTerms
    sums_per_agreement: int = 8
    _ready: BatchReady | None = field(default=None, init=False, repr=False)
    _agreed: frozenset[str] = field(default=frozenset(), init=False)
    _lost: dict[str, str] = field(default_factory=dict[str, str], init=False)

    def sum(self, request: StepRequest, sites: Sequence[str]) -> Summed:
        """See :class:`~aggregator.statistics.links.Sums`."""
        self._lost = {}
        try:
            opened = self._opened(request, sites)
        except SecureSumError as failure:
            raise QuorumError(
                f"expected a secure sum of at least {self.terms.minimum_survivors} sites, got none: {failure.message}",
                remedy="nothing was opened; wait for the sites and ask again",
                lost=dict(self._lost),
            ) from failure
        total = request.step.opened(opened.statistics.view("<i8"))
        lost = {site: self._lost.get(site, "no_keys") for site in sites if site not in opened.survivors}
        return Summed(total=total, sites=opened.survivors, lost=lost)

    def _opened(self, request: StepRequest, sites: Sequence[str]) -> SecureSum:
        ready = self._keys_for(request.number, sites)
        layout = Layout(updates=0, statistics=request.step.num_words)
        inputs = AwaitingInputs.begin(
            ready, round_number=request.number, layout=layout, model_hash=request.content_hash()
        )
        for site in self.terms.names(ready.holders):
            if site not in sites:
                continue
            with self._losing(site):
                inputs = inputs.fold(self.links[site].masked_answer(request, ready.batch))
        signing, announcement = inputs.close()
        survivors = self.terms.names(signing.survivors)
        signed = self._collect(
            signing, "consistency_request/1", ready.batch, dict.fromkeys(survivors, announcement), number=request.number
        )
        answering, question = signed.close()
        answers = self._collect(
            answering, "unmask_request/1", ready.batch, dict.fromkeys(survivors, question), number=request.number
        )
        return answers.open()

    def _keys_for(self, number: int, sites: Sequence[str]) -> BatchReady:
        """The keys in use, while they are for this sum and every site in question holds them; new ones otherwise."""
        known = self._ready
        if known is not None and set(sites) <= self._agreed:
            first = known.batch.first_round
            if first <= number < first + known.batch.rounds:
                return known
        batch = KeyBatch(purpose=PURPOSE, first_round=number, rounds=self.sums_per_agreement)
        waiting = self._collect(
            AwaitingKeys(terms=self.terms, batch=batch), "key_agreement_request/1", batch, dict.fromkeys(sites, b"")
        )
        sharing, key_list = waiting.close()
        takers = self.terms.names(sharing.sites)
        sharing = self._collect(sharing, "shares_request/1", batch, dict.fromkeys(takers, key_list))
        ready, parcels = sharing.close()
        for site, parcel in parcels.items():
            with self._losing(site):
                self._step("parcels_request/1", batch, site, payload=parcel)
        self._ready, self._agreed = ready, frozenset(self.terms.names(ready.holders))
        return ready

    def _collect(
        self,
        phase: _Collecting,
        kind: _Kind,
        batch: KeyBatch,
        payloads: Mapping[str, bytes],
        *,
        number: int | None = None,
    ) -> _Collecting:
        for site, payload in payloads.items():
            with self._losing(site):
                phase = phase.add(self._step(kind, batch, site, payload=payload, number=number))
        return phase

    def _step(self, kind: _Kind, batch: KeyBatch, site: str, *, payload: bytes, number: int | None = None) -> bytes:
        header = SecureSumRequest(kind=kind, study=self.terms.study, site=site, batch=batch, round_number=number)
        return self.links[site].secure_step(header, payload)

    @contextmanager
    def _losing(self, site: str) -> Generator[None]:
        """A context in which a site that vanishes or breaks the protocol is lost; what it refuses for other reasons is raised."""
        try:
            yield
        except (TransportError, SecureSumRefusedError) as failure:
            self._lost[site] = str(failure.facts.get("reason", type(failure).__name__))
