"""The aggregator's part of secure sums: keys for batches of rounds, one sum a round, another attempt where one fails.

Everything that a restart needs is on disk before the message that depends on it leaves: lists of keys, the batch in use, the
survivors that were announced. A site that vanishes is a drop-out with its reason; too few survivors make another attempt with
new keys, and after the last the study stops. Once survivors were asked for their shares there is no other attempt: they are asked
again, also after a restart (what happens if they never come back is in :mod:`aggregator.left_sums`). Nothing is ever opened below
the terms' minimum.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

from aggregator.asked_sums import AskedSum, AskedSums
from aggregator.replies import accepted_envelope, dropout_reason
from aggregator.sum_requests import OpenedSum, SumRequest
from aggregator.transport import Transport
from federation.durable_files import write_durably
from federation.errors import CohortiumError, QuorumError, SecureSumError, TransportError
from federation.protocol.messages import Envelope, SecureSumRequest
from federation.protocol.secure_sum.collecting import AwaitingKeys, AwaitingShares, BatchReady
from federation.protocol.secure_sum.folding import AwaitingInputs, AwaitingSignatures
from federation.protocol.secure_sum.opening import AwaitingAnswers, SecureSum
from federation.protocol.secure_sum.terms import KeyBatch
from federation.study.manifest import StudyManifest
from federation.study.secure_sums import first_batch

_LOG: Final = logging.getLogger("cohortium.secure_sums")
_Kind = Literal[
    "key_agreement_request/1", "shares_request/1", "parcels_request/1", "consistency_request/1", "unmask_request/1"
]
_ASKED_AGAIN: Final = 3
"""How often survivors are asked for their shares once more, where too few of them answered."""
_Collecting = TypeVar("_Collecting", AwaitingKeys, AwaitingShares, AwaitingSignatures, AwaitingAnswers)


class SecureSums:
    """Secure sums of one study.

    Args:
        study: With secure aggregation.
        transport: How sites are reached.
        folder: Where the aggregator keeps what a restart needs. It holds no site's numbers.
    """

    def __init__(self, study: StudyManifest, transport: Transport, *, folder: Path) -> None:
        self._study = study
        self._transport = transport
        self._folder = folder
        self._terms = study.secure_sum_terms()
        self._digest = study.digest
        self._asked = AskedSums(folder)
        self._dropouts: dict[str, str] = {}

    def sum(self, request: SumRequest) -> OpenedSum:
        """Take one sum.

        Raises:
            QuorumError: If no attempt had enough survivors from its beginning to its end.
        """
        masked = self._study.aggregation.masked
        attempts = 1 if masked is None else masked.attempts
        batch = self._batch_for(request)
        for number in range(attempts):
            self._dropouts = {}
            try:
                return OpenedSum(self._attempt(request, batch), dict(self._dropouts))
            except SecureSumError as failure:
                _LOG.warning(
                    "%s of round %d, attempt %d: %s", request.purpose, request.round_number, batch.attempt, failure
                )
                reason = str(failure.facts.get("reason", "failed"))
                if reason == "dealt_wrongly":
                    # Survivors answered for this round and must not for another attempt at it: nothing is left to try.
                    self._dropouts[str(failure.facts["sites"])] = reason
                is_bound = reason == "dealt_wrongly" or self._asked.path(request, batch).is_file()
                # Keys that nobody began with serve the next attempt as well: their numbers are few.
                is_begun = self._file(batch, "keys").is_file()
                following = batch.again(request.round_number) if is_begun else batch
                if not is_bound and number + 1 == attempts:
                    # Lists of keys that were begun may name sites that are gone: whoever resumes begins with a new one.
                    self.use(following)
                if is_bound or number + 1 == attempts:
                    raise self._given_up(request, attempts=number + 1, reason=reason) from failure
                batch = following
        raise AssertionError  # the loop returns or raises

    def first_asked(self, purpose: str) -> tuple[str, ...] | None:
        """The survivors of the first sum of a purpose that were asked for their shares; ``None``: nobody was yet."""
        for path in sorted(self._folder.glob(f"{purpose}-*.asked")):
            return AskedSum.read(path).survivors
        return None

    @property
    def dropouts(self) -> Mapping[str, str]:
        """Sites that were lost in the latest attempt, with the reason."""
        return dict(self._dropouts)

    def asked(self, request: SumRequest) -> Path | None:
        """Of the record of the sum whose survivors were asked for their shares; ``None``: another attempt is still possible."""
        path = self._asked.path(request, self._batch_for(request))
        return path if path.is_file() else None

    def agree_again(self, request: SumRequest) -> KeyBatch:
        """Agree on keys after those of a sum, with whoever can be reached now. They are in use once :meth:`use` says so.

        Raises:
            SecureSumError: If too few sites can.
        """
        self._dropouts = {}
        batch = self._batch_for(request).again(request.round_number)
        while self._file(batch, "keys").is_file():  # begun before, with sites that may be gone
            batch = batch.again(request.round_number)
        self._ready(batch)
        return batch

    def use(self, batch: KeyBatch) -> None:
        """Take a batch's keys for the rounds that it covers, from now on."""
        write_durably(self._folder / f"{batch.purpose}.batch.json", batch.model_dump_json().encode())

    def _given_up(self, request: SumRequest, *, attempts: int, reason: str) -> QuorumError:
        reasons = ", ".join(f"{site}: {why}" for site, why in sorted(self._dropouts.items()))
        return QuorumError(
            f"expected a secure sum of at least {self._terms.minimum_survivors} sites for {request.purpose} in round "
            f"{request.round_number}, got none in {attempts} attempts (last: {reason}; {reasons}); nothing was opened",
            remedy="the sites' own logs say more; mend them and resume, or make a version of the study without them",
            lost=dict(self._dropouts),
            reason=reason,
        )

    def _batch_for(self, request: SumRequest) -> KeyBatch:
        """The batch in use, if it covers the round; otherwise the round's own, for the first time."""
        path = self._folder / f"{request.purpose}.batch.json"
        if path.is_file():
            known = KeyBatch.from_json(path.read_bytes())
            if 0 <= request.round_number - known.first_round < known.rounds:
                return known
        return first_batch(self._study, request.purpose, request.round_number)

    def _file(self, batch: KeyBatch, ending: str) -> Path:
        return self._folder / f"{batch.purpose}-{batch.first_round:06d}-{batch.attempt}.{ending}"

    def _keep_in_use(self, batch: KeyBatch) -> None:
        path = self._folder / f"{batch.purpose}.batch.json"
        if not path.is_file() or KeyBatch.from_json(path.read_bytes()) != batch:
            self.use(batch)

    def _attempt(self, request: SumRequest, batch: KeyBatch) -> SecureSum:
        ready = self._ready(batch)
        self._keep_in_use(batch)
        for site in sorted({member.site for member in self._terms.members} - set(self._terms.names(ready.holders))):
            self._dropouts.setdefault(site, "no_keys")
        path = self._folder / f"{request.purpose}-{request.round_number:06d}-{batch.attempt}.survivors"
        announcement = path.read_bytes() if path.is_file() else None
        is_asked = announcement is not None and self._asked.path(request, batch).is_file()
        answers = self._asked.restore(request, ready, announcement or b"") if is_asked else None
        if answers is None:
            answers, question = self._summed(request, ready, announcement, path)
            self._asked.keep(request, answers, question)
        else:
            record = AskedSum.read(self._asked.path(request, batch))
            record.show_to(request.keeper)
            question = record.question
        survivors = self._terms.names(answers.survivors)
        steps = self._steps("unmask_request/1", batch, request, dict.fromkeys(survivors, question))
        for _ in range(1 + _ASKED_AGAIN):
            answers = self._collect(answers, steps)
            if answers.is_enough:
                break
        return answers.open()

    def _summed(
        self, request: SumRequest, ready: BatchReady, announced: bytes | None, path: Path
    ) -> tuple[AwaitingAnswers, bytes]:
        """The masked sum of those who contribute, and the question that opens it, signed by enough of them.

        Args:
            request: What it is of.
            ready: The keys.
            announced: What was announced in this attempt before a crash.
            path: Where the announcement is kept.
        """
        inputs = AwaitingInputs.begin(
            ready,
            round_number=request.round_number,
            layout=request.layout,
            model_hash=request.content.content_hash(),
            announcement=announced,
        )
        possible = self._terms.names(inputs.possible)
        asked = [site for site in possible if request.sites is None or site in request.sites]
        envelopes = {site: request.envelope_for(site, ready.batch).to_bytes() for site in asked}
        for site, envelope in self._replies(envelopes):
            with self._or_lost(site):
                request.accept(site, envelope)
                inputs = inputs.fold(envelope.payload())
        signing, announcement = inputs.close()
        write_durably(path, announcement)
        steps = dict.fromkeys(self._terms.names(signing.survivors), announcement)
        signed = self._collect(signing, self._steps("consistency_request/1", ready.batch, request, steps))
        return signed.close()

    def _ready(self, batch: KeyBatch) -> BatchReady:
        """Keys of a batch: kept from before, or agreed on now."""
        kept, listed = self._file(batch, "ready"), self._file(batch, "keys")
        if kept.is_file():
            return BatchReady.from_bytes(kept.read_bytes())
        everybody = [member.site for member in self._terms.members]
        if listed.is_file():
            waiting = AwaitingShares.from_bytes(listed.read_bytes())
        else:
            keys = AwaitingKeys(terms=self._terms, batch=batch)
            keys = self._collect(keys, self._steps("key_agreement_request/1", batch, None, dict.fromkeys(everybody)))
            waiting, _ = keys.close()
            write_durably(listed, waiting.to_bytes())
        sites = self._terms.names(waiting.sites)
        waiting = self._collect(
            waiting, self._steps("shares_request/1", batch, None, dict.fromkeys(sites, waiting.key_list))
        )
        ready, parcels = waiting.close()
        for site, _ in self._replies(self._steps("parcels_request/1", batch, None, parcels)):
            _LOG.debug("site %s holds its shares", site)
        write_durably(kept, ready.to_bytes())
        return ready

    def _collect(
        self,
        phase: _Collecting,
        steps: Mapping[str, bytes],
    ) -> _Collecting:
        for site, envelope in self._replies(steps):
            with self._or_lost(site):
                phase = phase.add(envelope.payload())
        return phase

    def _steps(
        self, kind: _Kind, batch: KeyBatch, request: SumRequest | None, payloads: Mapping[str, bytes | None]
    ) -> dict[str, bytes]:
        number = None if request is None else request.round_number
        found: dict[str, bytes] = {}
        for site, payload in payloads.items():
            header = SecureSumRequest(kind=kind, study=self._digest, site=site, batch=batch, round_number=number)
            step = Envelope(header)
            found[site] = (step if payload is None else step.with_payload(payload)).to_bytes()
        return found

    def _replies(self, requests: Mapping[str, bytes]) -> Iterator[tuple[str, Envelope]]:
        """Accepted replies as they arrive; each is forgotten before the next is waited for."""
        for reply in self._transport.exchange(requests):
            try:
                envelope = accepted_envelope(reply, self._digest)
                _expect_answer(envelope)
            except CohortiumError as failure:
                self._dropouts[reply.site] = dropout_reason(reply, failure)
                continue
            yield reply.site, envelope

    def _or_lost(self, site: str) -> _Lost:
        return _Lost(self._dropouts, site)


@dataclass(frozen=True)
class _Lost:
    """A context in which a site's mistake makes it a drop-out."""

    dropouts: dict[str, str]
    site: str

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, CohortiumError) or isinstance(error, SecureSumError):
            return False
        _LOG.warning("site %s is left out: %s", self.site, error)
        self.dropouts[self.site] = str(error.facts.get("reason", type(error).__name__))
        return True


def _expect_answer(envelope: Envelope) -> None:
    if envelope.header.kind.endswith("_request/1") or envelope.header.kind == "refusal/1":
        raise TransportError(f"expected an answer to a step of a secure sum, got {envelope.header.kind}")
