"""Heads of audit logs, shown with every message and countersigned: neither side can rewrite what the other has seen.

Both sides use the same class. What the other signed is an entry of one's own log, and so is what was witnessed of the other's:
the log is its own evidence, and a restart continues where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from federation.errors import AuditLogDamagedError, SignatureRefusedError
from federation.governance.audit import AuditChain, AuditEvent
from federation.governance.audit_log import AuditLog
from federation.protocol.audit_head import MOST_LINKS, AuditHead, CounterSignature, HeadsShown, countersign
from federation.protocol.signatures import SigningKey

_TO_VERIFY: Final = "stop working with it, and compare both logs: `audit verify --against` the other's export"


class HeadExchange:
    """One side of the exchange.

    Args:
        log: One's own.
        key: One's own, which also signs the heads of ``log``.
        peers: Public key of each other log, by the log's name: known from enrolment, never from a message.
    """

    def __init__(self, log: AuditLog, key: SigningKey, *, peers: Mapping[str, str]) -> None:
        self._log, self._key, self._peers = log, key, dict(peers)
        self._known: dict[str, dict[int, str]] = {}

    def show(self, peer: str) -> HeadsShown:
        """What to send with the next message to ``peer``.

        Raises:
            SignatureRefusedError: If no such peer is known.
        """
        with self._log.writing() as chain:
            seen = chain.countersigned.get(self._key_of(peer))
            theirs = chain.witnessed.get(peer)
        return HeadsShown(
            own=self._log.head(since=seen.head.sequence if seen else None),
            countersigned=countersign(theirs, self._key) if theirs else None,
        )

    def take(self, peer: str, shown: HeadsShown | None, *, answering: HeadsShown | None = None) -> None:
        """Check what came with a message of ``peer``, and record what is new in it.

        Args:
            peer: Whose message it was, as its signature says.
            shown: What came; ``None``: nothing, which is refused once something was countersigned.
            answering: What was sent with the request that the message answers, if it answers one.

        Raises:
            AuditLogDamagedError: If one's own log is behind or beside what the peer has seen (a restored backup), or the
                peer's log went back or was rewritten. ``facts["log"]`` says whose.
            SignatureRefusedError: If a signature is not the peer's.
        """
        public_key = self._key_of(peer)
        with self._log.writing() as chain:
            events: list[AuditEvent] = []
            if shown is not None and shown.countersigned is not None:
                events += _own_head(chain, peer, public_key, shown.countersigned)
            own = shown.own if shown is not None else None
            if own is not None:
                _check_signed(own, peer, public_key)
                events += self._head_of_peer(chain.witnessed.get(peer), own, answering)
            elif answering is not None and peer in chain.witnessed:
                raise _rewritten(peer, "got none")
            if events:
                self._log.record(*events)

    def _head_of_peer(self, last: AuditHead | None, head: AuditHead, answering: HeadsShown | None) -> list[AuditEvent]:
        """The other's log must be what was witnessed, continued.

        Messages may overtake each other: an older head is no harm if it is known to be of the witnessed log, and not older
        than what the request showed. It is not recorded again.
        """
        known = self._known.setdefault(head.log, {})
        if last is not None:
            known[last.sequence] = last.entry_hash
            shown = answering.countersigned.head if answering is not None and answering.countersigned else None
            if shown is not None:
                known[shown.sequence] = shown.entry_hash
            if head.sequence <= last.sequence:
                if known.get(head.sequence) != head.entry_hash or (shown and head.sequence < shown.sequence):
                    raise _rewritten(head.log, f"got its entry {head.sequence} after its entry {last.sequence}")
                return []
            known |= _path(head, last, known)
            self._known[head.log] = {at: known[at] for at in known if at >= last.sequence - MOST_LINKS}
        return [AuditEvent(event="head_witnessed", actor=head.log, site=head.log, head=head.bare())]

    def _key_of(self, peer: str) -> str:
        if peer not in self._peers:
            raise SignatureRefusedError(
                f"expected a message of one of {', '.join(sorted(self._peers)) or 'nobody'}, got one of {peer}",
                remedy="enrol it first",
            )
        return self._peers[peer]


def _own_head(chain: AuditChain, peer: str, public_key: str, seen: CounterSignature) -> list[AuditEvent]:
    """What the other countersigned must be in one's own log."""
    if seen.public_key != public_key or not seen.is_genuine():
        raise SignatureRefusedError(
            f"expected the countersignature of {peer}, got another's or one that does not hold",
            remedy="whoever sent it is not the enrolled one, or the message was changed",
        )
    if not chain.contains(seen.head):
        raise AuditLogDamagedError(
            f"expected this log to hold entry {seen.head.sequence} as {peer} countersigned it, it has "
            + (f"{chain.sequence} entries" if seen.head.sequence > chain.sequence else "another there"),
            remedy="a backup was restored, or the log was changed: nothing more may be sent; put the newest file back",
            entry=min(seen.head.sequence, chain.sequence + 1),
            log=chain.log,
        )
    last = chain.countersigned.get(public_key)
    if last is not None and last.head.sequence >= seen.head.sequence:
        return []
    return [AuditEvent(event="head_countersigned", actor=peer, site=peer, countersignature=seen)]


def _check_signed(head: AuditHead, peer: str, public_key: str) -> None:
    if (head.log, head.public_key) != (peer, public_key) or not head.is_genuine():
        raise SignatureRefusedError(
            f"expected the signed head of {peer}, got that of {head.log}, or a signature that does not hold",
            remedy="whoever sent it is not the enrolled one, or the message was changed",
        )


def _path(head: AuditHead, last: AuditHead, known: Mapping[int, str]) -> Mapping[int, str]:
    """Hashes of the entries up to ``head``: they start at a known one and pass through ``last``."""
    start = None if head.since is None or head.since > last.sequence else known.get(head.since)
    path = {} if start is None else head.hashes_from(start)
    if not path or any(known.get(number, entry_hash) != entry_hash for number, entry_hash in path.items()):
        raise _rewritten(head.log, f"got entry {head.sequence} without proof that it continues entry {last.sequence}")
    return path


def _rewritten(peer: str, got: str) -> AuditLogDamagedError:
    return AuditLogDamagedError(
        f"expected the audit log of {peer} to be what was witnessed of it, continued; {got}",
        remedy=_TO_VERIFY,
        log=peer,
    )
