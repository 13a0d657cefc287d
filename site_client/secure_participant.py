"""A site's part of secure sums, with a memory: keys for batches of rounds, masked contributions, signatures, answers.

The protocol itself is pure (:mod:`federation.protocol.secure_sum`). Here every step is on disk before its message leaves, and a
repeated request gets the same bytes; a different one for the same step is refused::

    <folder>/train-000001-10-0.advertise     request's hash, phase and message of a step of a batch of keys
    <folder>/train-round-000003.phase        what the site remembers of a round: it opens one set of survivors, once
    <folder>/train-round-000003-0.contribution   the masked numbers as sent

All of them are for their owner only. Keys are removed after the last round of their batch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, assert_never

from federation.durable_files import write_durably
from federation.errors import CheckpointError, TransportError
from federation.privacy.randomness import RandomStreams
from federation.protocol.messages import SecureSumRequest
from federation.protocol.secure_sum.agreeing import Advertised, KeysAgreed, SharesHeld
from federation.protocol.secure_sum.contributing import Numbers, answer_unmask, mask_numbers, sign_survivors
from federation.protocol.secure_sum.round_phases import Masked, RoundPhase, restore_round
from federation.protocol.secure_sum.terms import KeyBatch, SecureSumTerms
from federation.protocol.secure_sum.wire import refused
from federation.protocol.signatures import SigningKey

_HASH_BYTES: Final = 32
_LENGTH_BYTES: Final = 4
_SENT: Final = re.compile(r"round-(\d{6,})-\d+\.contribution")
_STEP: Final = re.compile(r"(\d{6,})-(\d+)-\d+\.(?:advertise|deal|hold)")


class CheckSurvivors(Protocol):
    """Whether a site takes part in a sum over these sites."""

    def __call__(self, batch: KeyBatch, survivors: tuple[int, ...], *, opens: bool) -> None:
        """Raise to refuse."""
        ...


@dataclass(frozen=True)
class SecureParticipant:
    """One site in the secure sums of one study.

    Args:
        folder: Where its memory is.
        terms: Of the study.
        site: Its name.
        key: Its identity, as in the roster.
        streams: Secret; the keys and the rounding of every batch and attempt come from streams of their own.
    """

    folder: Path
    terms: SecureSumTerms
    site: str
    key: SigningKey = field(repr=False)
    streams: RandomStreams = field(repr=False)
    check_survivors: CheckSurvivors | None = field(default=None, repr=False)
    """Called before a signature or an answer that opens a sum is kept; raises to refuse the set."""

    def answer(self, header: SecureSumRequest, payload: bytes) -> bytes:
        """Take one step beside the contributions.

        Args:
            header: Which step.
            payload: What the server relays; empty in the first step.

        Returns:
            The message for the server; empty once shares are held.

        Raises:
            SecureSumRefusedError: If the step asks for more than the sum, with the reason in ``facts``.
            TransportError: If a step of a round names no round.
        """
        batch = header.batch
        match header.kind:
            case "key_agreement_request/1":
                return self._step(batch, "advertise", payload, self._advertise)
            case "shares_request/1":
                return self._step(batch, "deal", payload, self._deal)
            case "parcels_request/1":
                return self._step(batch, "hold", payload, self._hold)
            case "consistency_request/1":
                return self._round_step(header, payload, sign_survivors)
            case "unmask_request/1":
                return self._round_step(header, payload, answer_unmask)
            case _:
                assert_never(header.kind)

    def contribution(self, batch: KeyBatch, *, round_number: int, model_hash: bytes, numbers: Numbers) -> bytes:
        """The site's masked numbers of a round, the same bytes whenever they are asked for.

        Args:
            batch: Keys that were agreed on.
            round_number: One of the batch's.
            model_hash: SHA-256 of what the site received.
            numbers: What to add to the sum.

        Raises:
            SecureSumRefusedError: If the site holds no shares of that batch, or answered this or a later attempt.
        """
        name = f"{batch.purpose}-round-{round_number:06d}"
        sent, memory = self.folder / f"{name}-{batch.attempt}.contribution", self.folder / f"{name}.phase"
        earlier = restore_round(memory.read_bytes()) if memory.is_file() else None
        if sent.is_file() and earlier is not None and earlier.round_id.attempt == batch.attempt:
            return sent.read_bytes()
        held = self._held(batch)
        phase, content = mask_numbers(
            held, numbers, round_number=round_number, model_hash=model_hash, earlier=earlier, signing_key=self.key
        )
        # Contribution first: without its phase beside it, it was never sent and is made again.
        write_durably(sent, bytes(content), secret=True)
        write_durably(memory, phase.to_bytes(), secret=True)
        self._forget(batch.purpose, before=round_number)
        return bytes(content)

    def rounding(self, batch: KeyBatch, round_number: int) -> RandomStreams:
        """Streams for rounding numbers at random, of one round.

        The same in every attempt: what a sum opens does not depend on how often it was tried, and a second rounding of the same
        update would tell more of it. Masks are new in every attempt.
        """
        return self.streams.child("rounding", batch.purpose, round_number)

    def _advertise(self, batch: KeyBatch, payload: bytes) -> tuple[bytes, bytes]:
        if payload:
            raise TransportError("expected no payload in a request for keys, got one")
        source = self.streams.stream("keys", batch.purpose, batch.first_round, batch.rounds, batch.attempt)
        phase, message = Advertised.begin(
            self.terms, batch, site=self.site, signing_key=self.key, random_bytes=source.bytes
        )
        return phase.to_bytes(), message

    def _deal(self, batch: KeyBatch, payload: bytes) -> tuple[bytes, bytes]:
        source = self.streams.stream("shares", batch.purpose, batch.first_round, batch.rounds, batch.attempt)
        before = Advertised.from_bytes(self._phase(batch, "advertise"))
        phase, message = before.agree(payload, signing_key=self.key, random_bytes=source.bytes)
        return phase.to_bytes(), message

    def _hold(self, batch: KeyBatch, payload: bytes) -> tuple[bytes, bytes]:
        return KeysAgreed.from_bytes(self._phase(batch, "deal")).hold(payload).to_bytes(), b""

    def _held(self, batch: KeyBatch) -> SharesHeld:
        return SharesHeld.from_bytes(self._phase(batch, "hold"))

    def _step(
        self, batch: KeyBatch, step: str, payload: bytes, take: Callable[[KeyBatch, bytes], tuple[bytes, bytes]]
    ) -> bytes:
        path, request = self._path(batch, step), hashlib.sha256(payload).digest()
        if path.is_file():
            known, _, message = _parts(path)
            if known != request:
                raise refused(
                    "second_message", f"expected one request for the step {step!r}, got a different second one"
                )
            return message
        phase, message = take(batch, payload)
        write_durably(path, request + len(phase).to_bytes(_LENGTH_BYTES, "big") + phase + message, secret=True)
        return message

    def _round_step(
        self,
        header: SecureSumRequest,
        payload: bytes,
        take: Callable[..., tuple[RoundPhase, bytes]],
    ) -> bytes:
        if header.round_number is None:
            raise TransportError(f"expected the number of the round in a {header.kind}, got none")
        memory = self.folder / f"{header.batch.purpose}-round-{header.round_number:06d}.phase"
        if not memory.is_file():
            raise refused("not_masked", "expected a round that this site contributed to, got another")
        phase, message = take(restore_round(memory.read_bytes()), payload, signing_key=self.key)
        if self.check_survivors is not None and not isinstance(phase, Masked):
            self.check_survivors(header.batch, phase.survivors, opens=header.kind == "unmask_request/1")
        write_durably(memory, phase.to_bytes(), secret=True)
        return message

    def _path(self, batch: KeyBatch, step: str) -> Path:
        return self.folder / f"{batch.purpose}-{batch.first_round:06d}-{batch.rounds}-{batch.attempt}.{step}"

    def _phase(self, batch: KeyBatch, step: str) -> bytes:
        path = self._path(batch, step)
        if not path.is_file():
            raise refused("no_keys", f"expected a batch whose step {step!r} this site took, got another")
        return _parts(path)[1]

    def _forget(self, purpose: str, *, before: int) -> None:
        """Remove what no round needs any more: contributions of earlier rounds, keys of batches that ended."""
        for path in self.folder.iterdir():
            if not path.name.startswith(f"{purpose}-"):
                continue
            kept = path.name.removeprefix(f"{purpose}-")
            if sent := _SENT.fullmatch(kept):
                last = int(sent[1])
            elif step := _STEP.fullmatch(kept):
                last = int(step[1]) + int(step[2]) - 1
            else:
                continue
            if last < before:
                path.unlink(missing_ok=True)


def _parts(path: Path) -> tuple[bytes, bytes, bytes]:
    """Request's hash, phase and message of a stored step."""
    content = path.read_bytes()
    start = _HASH_BYTES + _LENGTH_BYTES
    length = int.from_bytes(content[_HASH_BYTES:start], "big")
    if len(content) < start + length:
        raise CheckpointError(
            f"expected the stored step of a secure sum in {path.name}, got other bytes",
            remedy="restore the study's folder as it was",
        )
    return content[:_HASH_BYTES], content[start : start + length], content[start + length :]
