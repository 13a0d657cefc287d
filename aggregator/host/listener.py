"""Takes connections for the gate: TLS 1.3 with a certificate of the consortium's authority, or nothing.

Home of uvicorn. Its server is not used, because it tells an application nothing about certificates and waits for ever for slow
handshakes and slow headers; its HTTP/1.1 protocol is. Connections are counted by address before any cryptography.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from aggregator.authority.certificates import Client, read_client
from aggregator.host.gate import ABORT, PEER, Gate, Receive, Scope, Send
from aggregator.host.gate_limits import GateCounts
from aggregator.host.home import GateLimits
from aggregator.host.home_paths import HostLayout
from aggregator.host.revocation import Membership
from federation.errors import EnrolmentRefusedError

_LOG: Final = logging.getLogger("cohortium.gate")
_LARGEST_HEAD: Final = 16 * 1024
_BACKLOG: Final = 128


def server_context(layout: HostLayout) -> ssl.SSLContext:
    """TLS 1.3 only, client certificates of the consortium's authority only, no resumption: every connection is verified anew."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.load_verify_locations(cafile=str(layout.authority_certificate))
    context.load_cert_chain(layout.tls_certificate, layout.tls_key)
    return context


def peer_of(transport: asyncio.BaseTransport) -> Client | None:
    """Who the certificate of a TLS connection names; ``None`` if it is of no site."""
    connection = transport.get_extra_info("ssl_object")
    certificate = connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLObject) else None
    try:
        return read_client(certificate or b"")
    except EnrolmentRefusedError:
        return None


class GateProtocol(H11Protocol):
    """One connection: refused before its first request if the peer may not connect, ended if it dawdles."""

    def __init__(self, listener: Listener, config: Config, state: ServerState, gone: asyncio.Event) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._listener = listener
        self._gone = gone
        self._patience: asyncio.TimerHandle | None = None
        self.peer: Client | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """After the handshake."""
        super().connection_made(transport)
        self.peer = peer_of(transport)
        refused = "certificate" if self.peer is None else self._listener.membership.reason_against(self.peer)
        if refused:
            self.cut(refused)
            return
        self.app_state = {PEER: self.peer, ABORT: transport.abort}
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body."""
        super().data_received(data)
        if self._is_serving():
            self._stop_waiting()
        elif self._patience is None and not self.transport.is_closing():
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever ended it: the connection's place is free."""
        self._gone.set()
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """To bytes that are no HTTP."""
        self._listener.refuse("malformed", self.peer)
        super().send_400_response(msg)

    def cut(self, reason: str) -> None:
        """End the connection at once, whatever is under way."""
        self._listener.refuse(reason, self.peer)
        self.transport.abort()

    def _is_serving(self) -> bool:
        cycle = cast(
            "RequestResponseCycle | None", self.cycle
        )  # its annotation leaves out the time before the first request
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(self._listener.limits.header_seconds, self.cut, "slow_head")

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


@dataclass
class Listener:
    """The gate's public socket.

    Args:
        gate: The application.
        membership: Who may connect.
        layout: Where certificates are.
        limits: Connections and patience.
        counts: Where refusals are counted.
        reread_seconds: How often live connections are looked at again.
    """

    gate: Gate
    membership: Membership
    layout: HostLayout
    limits: GateLimits
    counts: GateCounts
    reread_seconds: float = 5.0
    _state: ServerState = field(default_factory=ServerState)
    _by_address: Counter[str] = field(default_factory=Counter[str])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def __post_init__(self) -> None:
        self._config = Config(
            self._dated,
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # uvicorn's is as old as the last tick of a server that is not used: see _dated
            proxy_headers=False,
            h11_max_incomplete_event_size=_LARGEST_HEAD,
            timeout_keep_alive=max(int(self.limits.header_seconds), 1),
        )
        self._config.load()
        self._context = server_context(self.layout)
        self._certificate_stamp = self._stamp()

    async def serve(self, listening: socket.socket) -> None:
        """Take connections for ever.

        Args:
            listening: Bound; made non-blocking here.
        """
        listening.listen(_BACKLOG)
        listening.settimeout(0)
        looking = asyncio.create_task(self._look_after())
        try:
            while True:
                await self._take(listening)
        finally:
            looking.cancel()

    async def close(self) -> None:
        """Cut every connection."""
        for task in list(self._tasks):
            task.cancel()
        for protocol in list(self._state.connections):
            protocol.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refuse(self, reason: str, peer: Client | None) -> None:
        """Count and log a connection that is not let in or is cut."""
        self.counts.refused[reason] += 1
        _LOG.warning("connection refused: %s, site %s, certificate %s", reason, *_named(peer))

    async def _dated(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The gate, with the time on every answer: a site's doctor compares its clock with it."""

        async def send_dated(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                date = (b"date", formatdate(usegmt=True).encode())
                message = {**message, "headers": [*message.get("headers", ()), date]}
            await send(message)

        await self.gate(scope, receive, send_dated)

    async def _take(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, address = await loop.sock_accept(listening)
        except OSError as failure:  # out of file descriptors, or gone before it was taken
            _LOG.warning("a connection was not taken: %s", type(failure).__name__)
            await asyncio.sleep(0.1)
            return
        host = str(address[0])
        if self._by_address[host] >= self.limits.connections_per_address or (
            self._by_address.total() >= self.limits.connections
        ):
            self.counts.refused["connections"] += 1
            connection.close()
            return
        self._by_address[host] += 1
        self.counts.connections = self._by_address.total()
        task = asyncio.create_task(self._speak(connection, host))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _speak(self, connection: socket.socket, host: str) -> None:
        """Shake hands and hand over; the address is counted until the connection ends."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(
                lambda: GateProtocol(self, self._config, self._state, gone),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self.limits.handshake_seconds,
                ssl_shutdown_timeout=1.0,
            )
        except (OSError, TimeoutError) as failure:  # ssl.SSLError is an OSError
            self.counts.refused["handshake"] += 1
            reason = failure.reason if isinstance(failure, ssl.SSLError) else type(failure).__name__
            _LOG.info("no connection from %s: %s", host, reason)
            connection.close()
        else:
            await gone.wait()
        finally:
            self._by_address[host] -= 1
            if not self._by_address[host]:
                del self._by_address[host]
            self.counts.connections = self._by_address.total()

    async def _look_after(self) -> None:
        """Again and again: cut connections of peers that may not connect any more, and take up a renewed certificate."""
        while True:
            await asyncio.sleep(self.reread_seconds)
            for protocol in list(self._state.connections):
                if isinstance(protocol, GateProtocol) and protocol.peer is not None:
                    refused = self.membership.reason_against(protocol.peer)
                    if refused:
                        protocol.cut(refused)
            if self._stamp() != self._certificate_stamp:
                with contextlib.suppress(OSError):
                    self._context.load_cert_chain(self.layout.tls_certificate, self.layout.tls_key)
                    self._certificate_stamp = self._stamp()

    def _stamp(self) -> tuple[int, int]:
        try:
            return self.layout.tls_certificate.stat().st_mtime_ns, self.layout.tls_key.stat().st_mtime_ns
        except OSError:
            return 0, 0


def _named(peer: Client | None) -> tuple[str, str]:
    return ("unknown", "none") if peer is None else (peer.site, peer.serial)
