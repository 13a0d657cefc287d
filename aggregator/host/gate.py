"""The gate: all that the network reaches of the aggregator. It lets members' SuperNodes through to Flower, and nobody else.

Flower 1.41 serves its three APIs on one port, authenticates after it has read a body of any size, and signs a timestamp only.
So the SuperLink listens on loopback, and this application decides first: which route, which site, whose node key, how large,
how fast. What passes is streamed to the SuperLink piece by piece; the gate never holds a body and never parses one.

The client's certificate has been verified by TLS before a byte arrives here (:mod:`aggregator.host.listener`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from aggregator.authority.certificates import Client
from aggregator.host.gate_limits import GateCounts, SiteLimits
from aggregator.host.home import GateLimits
from aggregator.host.revocation import Membership
from federation.errors import TransportError

FLEET_ROUTES: Final = frozenset(
    f"/v1/fleet/{name}"
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
"""Exactly what a SuperNode with a key of its own calls [flwr 1.41 supernode/fleet_http_connection.py]. ``register-node`` and
``unregister-node`` are for nodes without one: members' keys are registered from inside, by the registrar."""
TOKEN_HEADER: Final = "x-cohortium-token"  # noqa: S105 - a name, not a token
PEER: Final = "cohortium_peer"
"""Key of the verified :class:`~aggregator.authority.certificates.Client` in ``scope["state"]``."""
ABORT: Final = "cohortium_abort"
"""Key of a function in ``scope["state"]`` that cuts the connection."""
_MEDIA_TYPE: Final = "application/protobuf"
_NODE_KEY_HEADER: Final = "flwr-public-key"
_FORWARDED_PREFIX: Final = "flwr-"
_LONGEST_HEADER: Final = 4096
_ACCESS: Final = logging.getLogger("cohortium.gate.access")
_LOG: Final = logging.getLogger("cohortium.gate")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass
class _Visit:
    """One request, for the access log."""

    site: str
    route: str
    started: float
    status: int = 0
    reason: str = ""
    received: int = 0
    sent: int = 0
    answered: bool = False


class Gate:
    """The ASGI application.

    Args:
        membership: Who may connect.
        limits: What one site may do.
        upstream: Client whose base address is the SuperLink's, with the gate's token among its headers.
        counts: Where everything is counted.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        membership: Membership,
        limits: GateLimits,
        *,
        upstream: httpx.AsyncClient,
        counts: GateCounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._membership = membership
        self._limits = limits
        self._upstream = upstream
        self._counts = counts
        self._clock = clock
        self._sites = SiteLimits(limits, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        peer = scope.get("state", {}).get(PEER)
        site = peer.site if isinstance(peer, Client) else ""
        path = str(scope["path"])
        visit = _Visit(site, path if path in FLEET_ROUTES else "other", self._clock())
        try:
            await self._serve(scope, receive, send, visit)
        except TransportError as refused:
            visit.reason = str(refused.facts["reason"])
            await self._refuse(scope, send, visit, int(str(refused.facts["status"])))
        except (httpx.HTTPError, httpx.StreamError) as failure:
            visit.reason = f"superlink:{type(failure).__name__}"
            await self._refuse(scope, send, visit, 502)
        finally:
            self._note(visit)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, visit: _Visit) -> None:
        self._check_route(scope)
        headers = _headers_of(scope)
        self._check_site(scope, headers)
        with self._sites.admit(visit.site) as refused:
            if refused:
                raise _refused(503, refused)
            length = self._check_framing(headers)
            body = self._body(receive, length, visit)
            forwarded = {name: value for name, value in headers.items() if name.startswith(_FORWARDED_PREFIX)}
            forwarded |= {"content-type": _MEDIA_TYPE, "accept": _MEDIA_TYPE, "content-length": str(length)}
            forwarded["accept-encoding"] = "identity"
            request = self._upstream.build_request("POST", str(scope["path"]), content=body, headers=forwarded)
            answer = await self._upstream.send(request, stream=True)
            try:
                await self._pass_back(answer, send, visit)
            finally:
                await answer.aclose()

    def _check_route(self, scope: Scope) -> None:
        path = str(scope["path"])
        if path not in FLEET_ROUTES or scope.get("raw_path") != path.encode() or scope["query_string"]:
            raise _refused(404, "route")
        if scope["method"] != "POST":
            raise _refused(405, "method")

    def _check_site(self, scope: Scope, headers: dict[str, str]) -> None:
        """The certificate is of a member, and the node key is the one that the authority admitted for it."""
        peer = scope.get("state", {}).get(PEER)
        if not isinstance(peer, Client):
            raise _refused(401, "certificate")
        refused = self._membership.reason_against(peer)
        if refused:
            raise _refused(401, refused)
        member = self._membership.member(peer.site)
        try:
            shown = base64.b64decode(headers.get(_NODE_KEY_HEADER, ""), validate=True)
        except ValueError:
            shown = b""
        if member is None or shown != member.node_key.encode():
            raise _refused(401, "node_key")

    def _check_framing(self, headers: dict[str, str]) -> int:
        """The length of the body, which must be announced."""
        if "transfer-encoding" in headers:
            raise _refused(411, "chunked")
        announced = headers.get("content-length", "")
        if not (announced.isascii() and announced.isdigit() and len(announced) <= len(str(self._limits.largest_body))):
            raise _refused(413 if announced.isdigit() else 411, "length")
        if int(announced) > self._limits.largest_body:
            raise _refused(413, "length")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != _MEDIA_TYPE:
            raise _refused(415, "media_type")
        if headers.keys() & {"content-encoding", "expect", "upgrade", "trailer"}:
            raise _refused(400, "header")
        return int(announced)

    async def _body(self, receive: Receive, length: int, visit: _Visit) -> AsyncGenerator[bytes]:
        """The body as it arrives; cut off if it is slower than allowed."""
        end = self._clock() + self._limits.idle_seconds + length / self._limits.slowest_bytes_per_second
        more = True
        while more:
            patience = min(self._limits.idle_seconds, end - self._clock())
            try:
                message = await asyncio.wait_for(receive(), max(patience, 0.001))
            except TimeoutError as late:
                raise _refused(408, "slow_body") from late
            if message["type"] != "http.request":
                raise _refused(400, "disconnected")
            piece, more = bytes(message.get("body", b"")), bool(message.get("more_body", False))
            visit.received += len(piece)
            if piece:
                yield piece

    async def _pass_back(self, answer: httpx.Response, send: Send, visit: _Visit) -> None:
        headers = [
            (name.encode(), answer.headers[name].encode())
            for name in ("content-type", "content-length")
            if name in answer.headers
        ]
        visit.status, visit.answered = answer.status_code, True
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        end = self._clock() + self._limits.idle_seconds
        async for piece in answer.aiter_raw():
            visit.sent += len(piece)
            end += len(piece) / self._limits.slowest_bytes_per_second
            try:
                message = {"type": "http.response.body", "body": piece, "more_body": True}
                await asyncio.wait_for(send(message), max(end - self._clock(), 0.001))
            except TimeoutError as late:
                raise _refused(408, "slow_reader") from late
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _refuse(self, scope: Scope, send: Send, visit: _Visit, status: int) -> None:
        """Answer without a word of explanation, and close the connection."""
        self._counts.refused[visit.reason.partition(":")[0]] += 1
        if visit.answered:  # too late for another answer
            abort = scope.get("state", {}).get(ABORT)
            if callable(abort):
                abort()
            return
        visit.status, visit.answered = status, True
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _note(self, visit: _Visit) -> None:
        self._counts.requests[visit.site, visit.route.rpartition("/")[2], visit.status] += 1
        self._counts.received[visit.site] += visit.received
        self._counts.sent[visit.site] += visit.sent
        facts: dict[str, object] = {
            "site": visit.site,
            "route": visit.route,
            "status": visit.status,
            "received": visit.received,
            "sent": visit.sent,
            "milliseconds": round(1000 * (self._clock() - visit.started), 1),
        }
        _ACCESS.info(json.dumps(facts | ({"refused": visit.reason} if visit.reason else {})))


def _headers_of(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name.

    Raises:
        TransportError: If one comes twice or is too long.
    """
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if len(value) > _LONGEST_HEADER:
            raise _refused(431, "header")
        key = name.decode("latin-1").lower()
        if key in found:
            raise _refused(400, "header")
        found[key] = value.decode("latin-1")
    return found


def _refused(status: int, reason: str) -> TransportError:
    """A request that is not forwarded.

    Statuses are chosen for what Flower's client makes of them: 401 ends its process, 503 and 502 are tried again, the
    rest is given up. 403 would say "the run is over" and is never used.
    """
    return TransportError(
        f"expected a request that the gate lets through, got one with a wrong {reason}", status=status, reason=reason
    )
