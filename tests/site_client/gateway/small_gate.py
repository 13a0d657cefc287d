"""A gate for tests: TLS 1.3, client certificates of the consortium, and nothing behind it; a proxy; and an enrolled site."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path

from aggregator.host.enrolment import install_admission
from site_client.home_paths import SiteLayout
from tests.small_consortium import SmallConsortium


def now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


class Consortium:
    """With certificates that are valid now, and a gate that listens on loopback."""

    def __init__(self, folder: Path, *, name: str = "cardio") -> None:
        self.made = SmallConsortium(folder, name=name, certify=False, now=now() - dt.timedelta(hours=1))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        admission = self.made.certify(gate=f"localhost:{self.port}", names=("localhost",))
        self.made.now = now()
        install_admission(self.made.host, admission, heard=self.made.office.authority.fingerprint, now=now())
        self.clock: Callable[[], dt.datetime] = now
        self.seen: list[tuple[str, bytes]] = []
        self._closing = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def site(self, name: str) -> SiteLayout:
        self.made.enrol(name)
        return self.made.site(name)

    def close(self) -> None:
        self._closing.set()
        self.listener.close()

    def _serve(self) -> None:
        host = self.made.host
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(str(host.tls_certificate), str(host.tls_key))
        context.load_verify_locations(str(host.authority_certificate))
        context.verify_mode = ssl.CERT_REQUIRED
        while not self._closing.is_set():
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(context, plain), daemon=True).start()

    def _answer(self, context: ssl.SSLContext, plain: socket.socket) -> None:
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                head = _request(connection)
                names = [value for kind, value in (connection.getpeercert() or {}).get("subjectAltName", ()) if kind]
                self.seen.append((names[0], head.split(b"\r\n")[0]))
                date = format_datetime(self.clock(), usegmt=True)
                connection.sendall(
                    f"HTTP/1.1 404 Not Found\r\ndate: {date}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
                )
        except OSError:
            plain.close()


def _request(connection: socket.socket) -> bytes:
    """A whole request, so that closing the connection resets nothing."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    while len(body) < sum(lengths) and (part := connection.recv(65536)):
        body += part
    return head


class Proxy:
    """An HTTP proxy that tunnels (CONNECT), or refuses to."""

    def __init__(self, *, refuses: bool = False, to: tuple[str, int] | None = None) -> None:
        self.refuses, self.to = refuses, to
        self.asked: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(connection,), daemon=True).start()

    def _tunnel(self, connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(4096)
                if not part:
                    return
                head += part
            target = head.split()[1].decode()
            self.asked.append(target)
            if self.refuses:
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection(self.to or (host, int(port))) as other:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_copy, args=(other, connection), daemon=True)
                back.start()
                _copy(connection, other)
                back.join(5)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return
