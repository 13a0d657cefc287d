"""A gate with its real listener in a thread of the test, in front of a SuperLink that says yes to everything and counts."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from pathlib import Path

import httpx

from aggregator.host.gate import Gate
from aggregator.host.gate_limits import GateCounts
from aggregator.host.gate_process import bind
from aggregator.host.home import AggregatorHome
from aggregator.host.home_paths import HostLayout
from aggregator.host.listener import Listener
from aggregator.host.revocation import Membership
from tests.aggregator.host.consortium import Site, client_context

PULL = "/v1/fleet/pull-messages"
PROTOBUF = {"content-type": "application/protobuf"}


class GateBench:
    """Runs until it is left."""

    def __init__(self, layout: HostLayout, home: AggregatorHome, ca: Path) -> None:
        self.layout, self.home, self.ca = layout, home, ca
        self.counts = GateCounts()
        self.arrived: list[tuple[str, int]] = []
        """Path and length of every request that reached the SuperLink."""
        self.answer = b"yes"
        self.wait_before_answer: threading.Event | None = None
        self.membership = Membership(
            layout,
            clock=time.monotonic,
            now=lambda: dt.datetime.now(tz=dt.UTC),
            reread_seconds=home.reread_seconds,
            keep_floor=True,
        )
        self._ready = threading.Event()
        self._contexts: dict[str, ssl.SSLContext] = {}

    def __enter__(self):
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._loop.set_exception_handler(lambda loop, context: None)
        transport = httpx.MockTransport(self._superlink)
        async with httpx.AsyncClient(transport=transport, base_url="http://superlink") as upstream:
            self.transport = transport
            gate = Gate(self.membership, self.home.limits, upstream=upstream, counts=self.counts)
            self.listener = Listener(
                gate=gate,
                membership=self.membership,
                layout=self.layout,
                limits=self.home.limits,
                counts=self.counts,
                reread_seconds=self.home.reread_seconds,
            )
            with bind(self.home.listen) as listening, contextlib.suppress(asyncio.CancelledError):
                listening.listen()
                self._ready.set()
                await self.listener.serve(listening)
            await self.listener.close()

    async def _superlink(self, request: httpx.Request) -> httpx.Response:
        length = 0
        async for piece in request.stream:
            length += len(piece)
        self.arrived.append((request.url.path, length))
        if self.wait_before_answer is not None:
            await asyncio.to_thread(self.wait_before_answer.wait, 10)
        headers = {"content-type": "application/protobuf", "content-length": str(len(self.answer)), "server": "x"}
        return httpx.Response(200, stream=_Pieces(self.answer), headers=headers)

    def client(self, site: Site | None) -> httpx.Client:
        """An HTTP client with a site's certificate."""
        key = "" if site is None else site.issued.fingerprint
        if key not in self._contexts:
            self._contexts[key] = client_context(self.ca, site)
        return httpx.Client(
            verify=self._contexts[key], base_url=f"https://{self.home.listen}", trust_env=False, timeout=10
        )

    def post(self, site: Site, path: str = PULL, *, content: object = b"", headers: dict[str, str] | None = None):
        """One request of a site's node on a connection of its own."""
        with self.client(site) as client:
            return client.post(path, content=content, headers=PROTOBUF | site.node_headers() | (headers or {}))

    @contextlib.contextmanager
    def raw(self, site: Site):
        """A bare TLS connection, for what no client library would send."""
        host, _, port = self.home.listen.partition(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            client_context(self.ca, site).wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            yield connection


class _Pieces(httpx.AsyncByteStream):
    """An answer that comes piece by piece, as from a socket."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self):
        for start in range(0, len(self.content), 65536):
            yield self.content[start : start + 65536]


def head(site: Site, *lines: str, path: str = PULL, method: str = "POST") -> bytes:
    """The head of a request of a site's node, with more lines."""
    fields = PROTOBUF | site.node_headers()
    text = [
        f"{method} {path} HTTP/1.1",
        "host: localhost",
        *(f"{name}: {value}" for name, value in fields.items()),
        *lines,
    ]
    return ("\r\n".join(text) + "\r\n\r\n").encode()


def answer_of(connection: ssl.SSLSocket) -> int:
    """Status of the answer, read whole; 0 if the connection was cut without one."""
    found = b""
    try:
        while b"\r\n\r\n" not in found and (piece := connection.recv(4096)):
            found += piece
        start, _, body = found.partition(b"\r\n\r\n")
        announced = [line for line in start.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        missing = int(announced[0].partition(b":")[2]) - len(body) if announced else 0
        while missing > 0 and (piece := connection.recv(min(missing, 4096))):
            missing -= len(piece)
    except (ssl.SSLError, ConnectionError):
        return 0
    return int(found.split()[1]) if found else 0


def is_cut(connection: ssl.SSLSocket, *, seconds: float) -> bool:
    """Whether the other side ends the connection within some seconds."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
