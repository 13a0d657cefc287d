"""A transport on which both ends sign: requests by the coordinator's key, replies by the key that the roster names for the site.

Whatever lies between (Flower, gate, gateways) can then lose messages, but neither write, change nor replay them. With every
message travel the heads of the audit logs, and each end countersigns what it has seen of the other's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from aggregator.transport import SiteReply, Transport
from federation.errors import AuditLogDamagedError, CohortiumError
from federation.governance.audit import AuditEvent, reason_of
from federation.governance.audit_exchange import HeadExchange
from federation.governance.audit_log import AuditLog
from federation.protocol.audit_head import COORDINATOR, HeadsShown
from federation.protocol.authenticated import Opened, open_reply, sign_request
from federation.protocol.signatures import SigningKey
from federation.study.manifest import StudyManifest


class AuthenticatedTransport:
    """Signs what goes out, and lets in only what the asked site has signed as the answer to it.

    Args:
        inner: Carries the bytes.
        study: What was agreed; its roster names every site's key.
        key: The coordinator's.
        log: The coordinator's audit log.
    """

    def __init__(self, inner: Transport, *, study: StudyManifest, key: SigningKey, log: AuditLog) -> None:
        self._inner = inner
        self._study = study.digest
        self._keys = {entry.site: str(entry.public_key) for entry in study.roster}
        self._key = key
        self._log = log
        self._exchange = HeadExchange(log, key, peers=self._keys)

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """Send ``requests``, signed; yield one reply per site. A reply that does not hold counts as none.

        Raises:
            AuditLogDamagedError: If a site has seen more of the coordinator's own audit log than there is: it was restored from
                a backup or changed.
        """
        shown = {site: self._exchange.show(site) for site in requests}
        signed = {
            site: sign_request(payload, key=self._key, study=self._study, site=site, heads=shown[site])
            for site, payload in requests.items()
        }
        self._log.record(
            *(
                AuditEvent(
                    event="request_sent",
                    actor=COORDINATOR,
                    study=self._study,
                    site=site,
                    hashes=_hashes(request=content),
                )
                for site, content in signed.items()
            )
        )
        for reply in self._inner.exchange(signed):
            yield self._checked(reply, signed[reply.site], shown[reply.site])

    def _checked(self, reply: SiteReply, request: bytes, shown: HeadsShown) -> SiteReply:
        if reply.content is None:
            return reply
        try:
            opened = self._opened(reply, request)
            self._exchange.take(reply.site, opened.heads, answering=shown)
        except CohortiumError as failure:
            if isinstance(failure, AuditLogDamagedError) and failure.facts.get("log") == COORDINATOR:
                raise
            self._note("reply_refused", reply, reason=reason_of(failure))
            return SiteReply(site=reply.site, content=None, reason=reason_of(failure))
        self._note("reply_accepted", reply)
        return SiteReply(site=reply.site, content=opened.payload, reason=reply.reason)

    def _opened(self, reply: SiteReply, request: bytes) -> Opened:
        content = b"" if reply.content is None else reply.content
        return open_reply(
            content, public_key=self._keys[reply.site], study=self._study, site=reply.site, request=request
        )

    def _note(self, event: str, reply: SiteReply, *, reason: str | None = None) -> None:
        hashes = _hashes(reply=reply.content or b"")
        self._log.record(
            AuditEvent.from_data(
                {
                    "event": event,
                    "actor": COORDINATOR,
                    "study": self._study,
                    "site": reply.site,
                    "reason": reason,
                    "hashes": hashes,
                }
            )
        )

    def close(self) -> None:
        """Close the inner transport; the log belongs to whoever opened it."""
        self._inner.close()


def _hashes(**contents: bytes) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
