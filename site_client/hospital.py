"""The agent for all studies of a site: which requests reach the records, and what is written down about it.

In this order, and nothing before the step above it has passed: the bytes are a message; the coordinator that the site enrolled with
signed it, for this site; the audit logs of both fit together; the study was proposed, approved here and by enough others, and is
not over; the site's policy still allows it; it is not paused; the installed code is what the site has accepted; the decision is
in the audit log. Only then is a study's agent asked. Whatever goes wrong, only the name of an error class leaves, and a stranger
does not even get a signature.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from federation.errors import CohortiumError, InternalError, LedgerLockedError
from federation.governance.audit import AuditEvent
from federation.governance.audit_exchange import HeadExchange
from federation.governance.audit_log import AuditLog
from federation.governance.proposals import Proposal
from federation.protocol.audit_head import COORDINATOR, HeadsShown
from federation.protocol.authenticated import Opened, claim_of, open_request, sign_reply
from federation.protocol.messages import Envelope, Refusal, read_envelope
from federation.protocol.signatures import SigningKey
from site_client.activity import ActivityLog
from site_client.code_watch import CodeWatch
from site_client.event_log import log_event
from site_client.gateway_notice import reason_in
from site_client.home_paths import SiteLayout
from site_client.permission import Permissions
from site_client.running_time import RunningTime

_LOG: Final = logging.getLogger("cohortium.agent")
_TRAINING: Final = "train_request/1"
_NOTICE_SECONDS: Final = 10.0
"""Between two entries about refused runs: a gateway must not be able to fill the disk."""

Clock = Callable[[], dt.datetime]


class Agents(Protocol):
    """Whoever answers once everything is checked."""

    def handle(self, proposal: Proposal, request: bytes) -> bytes:
        """The reply to a request of an approved study."""
        ...


@dataclass(frozen=True)
class _Answer:
    """What is to leave, and what it is."""

    payload: bytes
    kind: str = ""
    round_number: int | None = None
    error: str = ""


class Hospital:
    """Answers signed requests about every study of the site.

    Args:
        layout: Of the site's home.
        key: The site's identity.
        log: The site's audit log.
        agents: Answer what is allowed.
        clock: Decides when a study is over.
        time: How long an answer may take; ``None``: as the site's policy says.
        code: Whether the installed code is what the site has accepted; ``None``: a test's, which asks nobody.

    Raises:
        InvalidInputError: If the site is not enrolled.
    """

    def __init__(
        self,
        layout: SiteLayout,
        *,
        key: SigningKey,
        log: AuditLog,
        agents: Agents,
        clock: Clock,
        time: RunningTime | None = None,
        code: CodeWatch | None = None,
    ) -> None:
        self._code, self._time = code, time or RunningTime.of(layout)
        self._key, self._log, self._agents, self._clock = key, log, agents, clock
        self._home = layout.read()
        self._permissions = Permissions(layout, self._home)
        self._heads = HeadExchange(log, key, peers={COORDINATOR: self._home.coordinator_key})
        self._activity = ActivityLog(layout, now=clock())
        self._last_notice: dt.datetime | None = None

    def handle(self, content: bytes) -> bytes:
        """Answer what the gateway hands over. Never raises for what anybody can cause.

        Args:
            content: A signed request of :mod:`federation.protocol.authenticated`, or a gateway's notice.

        Returns:
            A signed reply; to what the coordinator did not sign, a `Refusal` without a signature; to a notice, nothing.
        """
        reason = reason_in(content)
        if reason is not None:
            self._note_refused_run(reason)
            return b""
        try:
            opened = self._authenticated(content)
        except Exception as failure:  # noqa: BLE001 - the wire's boundary: nothing may leave but a name
            return self._stranger(_class_of(failure))
        answer = self._guarded(opened)
        self._activity.request(
            opened.study,
            kind=answer.kind,
            round_number=answer.round_number,
            error=answer.error,
            now=self._clock(),
        )
        return sign_reply(
            answer.payload,
            key=self._key,
            study=opened.study,
            site=self._home.site,
            request=content,
            heads=self._shown(),
        )

    def _authenticated(self, content: bytes) -> Opened:
        claim = claim_of(content)
        return open_request(content, public_key=self._home.coordinator_key, study=claim.study, site=self._home.site)

    def _guarded(self, opened: Opened) -> _Answer:
        """The answer, or a refusal with the name of an error."""
        kind, round_number = "", None
        try:
            envelope = read_envelope(opened.payload)
            kind, round_number = envelope.header.kind, getattr(envelope.header, "round_number", None)
            return self._answered(opened, kind, round_number)
        except CohortiumError as refusal:
            _LOG.warning("refused: %s", refusal)
            error = type(refusal).__name__
        except Exception:  # noqa: BLE001 - as above: exception text may hold a patient value and must stay here
            _LOG.exception("failed")
            error = InternalError.__name__
        log_event(_LOG, logging.WARNING, "refused", reason=error, study=opened.study, kind=kind)
        try:
            self._record("request_refused", opened, round_number=round_number, reason=error)
        except Exception as failure:  # noqa: BLE001 - a full disk must not hide the refusal itself
            _LOG.error("the refusal is not in the audit log: %s", type(failure).__name__)
        return _Answer(self._refusal(opened.study, error), kind, round_number, error)

    def _answered(self, opened: Opened, kind: str, round_number: int | None) -> _Answer:
        self._heads.take(COORDINATOR, opened.heads)
        proposal = self._permissions.check(opened.study, training=kind == _TRAINING, now=self._clock())
        if self._code is not None:
            self._code.check(opened.study)
        self._record("request_accepted", opened, round_number=round_number)
        payload = self._time.bounded(lambda: self._agents.handle(proposal, opened.payload))
        header = read_envelope(payload).header
        reply = hashlib.sha256(payload).hexdigest()
        if isinstance(header, Refusal):
            is_locked = header.reason == LedgerLockedError.__name__
            event = "ledger_locked" if is_locked else "request_refused"
            self._record(event, opened, round_number=round_number, reason=header.reason)
            log_event(_LOG, logging.WARNING, "refused", reason=header.reason, study=opened.study, kind=kind)
            return _Answer(payload, kind, round_number, header.reason)
        self._record("released", opened, round_number=round_number, reply=reply)
        log_event(_LOG, logging.INFO, "answered", study=opened.study, kind=kind, number=round_number or 0)
        return _Answer(payload, kind, round_number)

    def _stranger(self, error: str) -> bytes:
        """Nothing is signed for a stranger, and nothing is written that could fill a disk."""
        log_event(_LOG, logging.WARNING, "stranger", reason=error)
        self._activity.stranger()
        return self._refusal("", error)

    def _refusal(self, study: str, error: str) -> bytes:
        return Envelope(Refusal(study=study, site=self._home.site, reason=error)).to_bytes()

    def _shown(self) -> HeadsShown | None:
        try:
            return self._heads.show(COORDINATOR)
        except CohortiumError as failure:
            _LOG.error("the head of the audit log cannot be shown: %s", failure)
            return None

    def _record(
        self,
        event: str,
        opened: Opened,
        *,
        round_number: int | None,
        reason: str | None = None,
        reply: str | None = None,
    ) -> None:
        hashes = {"request": opened.sha256} | ({} if reply is None else {"reply": reply})
        self._log.record(
            AuditEvent.from_data(
                {
                    "event": event,
                    "actor": "agent",
                    "study": opened.study,
                    "round_number": round_number,
                    "reason": reason,
                    "hashes": hashes,
                    "site": COORDINATOR,
                }
            )
        )

    def _note_refused_run(self, reason: str) -> None:
        self._activity.refused_run()
        log_event(_LOG, logging.WARNING, "run_refused", reason=reason)
        now = self._clock()
        if self._last_notice is not None and (now - self._last_notice).total_seconds() < _NOTICE_SECONDS:
            return
        self._last_notice = now
        try:
            self._log.record(AuditEvent(event="request_refused", actor="gateway", reason=f"run_{reason}"))
        except CohortiumError as failure:
            _LOG.error("the refused run is not in the audit log: %s", failure)


def _class_of(failure: Exception) -> str:
    if isinstance(failure, CohortiumError):
        return type(failure).__name__
    _LOG.error("failed: %s", type(failure).__name__)
    return InternalError.__name__
