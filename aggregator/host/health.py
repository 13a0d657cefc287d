"""``/health`` and ``/metrics`` of one process of this host, on loopback."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from aggregator.host.home import LOOPBACK

_STATUS_OK: Final = 200
_STATUS_UNWELL: Final = 503
_PATIENCE_SECONDS: Final = 2.0
_LARGEST_ANSWER: Final = 1024 * 1024

Facts = Mapping[str, object]
"""What ``/health`` shows; the process is well exactly if ``problems`` is empty or absent."""


class HealthServer:
    """Serves until it is closed, in threads of its own.

    Args:
        port: On loopback.
        health: What to say; called for every request.
        metrics: Lines of Prometheus's text format.
    """

    def __init__(self, port: int, *, health: Callable[[], Facts], metrics: Callable[[], list[str]]) -> None:
        self._server = ThreadingHTTPServer((LOOPBACK, port), _handler(health, metrics))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens; of use with port 0."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(health: Callable[[], Facts], metrics: Callable[[], list[str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_GET(self) -> None:
            match self.path:
                case "/health":
                    facts = dict(health())
                    status = _STATUS_UNWELL if facts.get("problems") else _STATUS_OK
                    self._answer(status, json.dumps(facts, indent=1) + "\n", "application/json")
                case "/metrics":
                    self._answer(_STATUS_OK, "\n".join(metrics()) + "\n", "text/plain; version=0.0.4")
                case _:
                    self._answer(404, "", "text/plain")

        def _answer(self, status: int, text: str, kind: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Say nothing: scrapes are no news."""

    return Handler


def ask(port: int, path: str = "/health") -> tuple[int, str]:
    """Status and text of a loopback page; status 0 if nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{LOOPBACK}:{port}{path}", timeout=_PATIENCE_SECONDS) as answer:
            return int(answer.status), answer.read(_LARGEST_ANSWER).decode(errors="replace")
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read(_LARGEST_ANSWER).decode(errors="replace")
    except OSError:
        return 0, ""


def wait_for_health(port: int, *, seconds: float) -> bool:
    """Whether the page on a port says that all is well within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ask(port)[0] == _STATUS_OK:
            return True
        time.sleep(0.1)
    return False
