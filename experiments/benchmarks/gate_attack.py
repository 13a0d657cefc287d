"""A message through our gate while a member attacks it, beside the same message in peace.

The attacker has a certificate of the consortium. From eight addresses of this machine's loopback it holds 200 connections open with
heads that never end, a byte a second, opens those anew that the gate cuts, and sends bodies of 100 MB, one after another. It is a
process of its own, and takes its share of the machine: that is part of what is measured.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from experiments.benchmarks.alternation import Comparison
from experiments.benchmarks.gate_messages import SITE, GateDeployment
from experiments.engines.flower import HOST
from federation.errors import TransportError
from site_client.gateway.gate_files import GateFiles
from site_client.home_paths import SiteLayout

ATTACKER: Final = "south"
CONNECTIONS: Final = 200
BODY_BYTES: Final = 100_000_000
_ADDRESSES: Final = 8
_SECONDS: Final = 20.0
_READY: Final = b"ready\n"
_HEAD: Final = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/protobuf\r\n"
_PIECE: Final = bytes(1 << 16)


class AttackedGate:
    """A host, an honest site and a hostile one; they run from the first message on.

    Args:
        content_bytes: Of an answer.
    """

    def __init__(self, *, content_bytes: int) -> None:
        self._content_bytes = content_bytes
        self._stack = ExitStack()
        self._deployment: GateDeployment | None = None

    def in_peace(self) -> float:
        """Seconds of one message."""
        return self._running().message()

    def attacked(self) -> float:
        """Seconds of one message of the honest site, once every connection of the attack is open.

        Raises:
            TransportError: If the attack does not begin, or is over before the message is there.
        """
        deployment = self._running()
        files = SiteLayout(deployment.folder / ATTACKER).gateway
        command = [sys.executable, "-m", "experiments.benchmarks.gate_attack", str(deployment.port), str(files)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attack:  # noqa: S603 - our own module
            try:
                if attack.stdout is None or attack.stdout.readline() != _READY:
                    raise TransportError(f"expected {CONNECTIONS} connections to the gate, the attack ended before")
                seconds = deployment.message()
                if attack.poll() is not None:
                    raise TransportError("expected an attack that lasts as long as the message, it ended before")
            finally:
                attack.kill()
        return seconds

    def close(self) -> None:
        """End every process. Safe to call twice."""
        self._stack.close()
        self._deployment = None

    def _running(self) -> GateDeployment:
        if self._deployment is None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="cohortium-bench-")))
            made = GateDeployment(folder, content_bytes=self._content_bytes, members=(SITE, ATTACKER))
            self._deployment = self._stack.enter_context(made)
        return self._deployment


def attack_comparison(gate: AttackedGate) -> Comparison:
    """Cheap to make: processes start when it is measured.

    Args:
        gate: Holds the processes; whoever made it closes it.
    """
    return Comparison(
        name="gate_message_attacked",
        question=f"an honest site's message beside {CONNECTIONS} slow connections and 100 MB bodies / the same without",
        ours=gate.attacked,
        floor=gate.in_peace,
        unit="message",
    )


class SlowConnections:
    """Connections whose heads never end.

    Args:
        port: Of the gate.
        context: Of a member.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._open: dict[int, ssl.SSLSocket] = {}

    def fill(self) -> int:
        """Open those that are not open.

        Returns:
            How many are.
        """
        for number in range(CONNECTIONS):
            if number not in self._open:
                with contextlib.suppress(OSError):
                    self._open[number] = connected(self._port, self._context, source=number % _ADDRESSES)
                    self._open[number].sendall(_HEAD + b"x-slow: ")
        return len(self._open)

    def drip(self) -> None:
        """A byte more on each; what the gate has cut is forgotten."""
        for number, connection in list(self._open.items()):
            try:
                connection.sendall(b"s")
            except OSError:
                connection.close()
                del self._open[number]


def connected(port: int, context: ssl.SSLContext, *, source: int) -> ssl.SSLSocket:
    """A connection from one of the attacker's addresses.

    Raises:
        OSError: If the gate does not take it.
    """
    plain = socket.create_connection((HOST, port), timeout=_SECONDS, source_address=(f"127.0.0.{2 + source}", 0))
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def send_large_bodies(port: int, context: ssl.SSLContext) -> None:
    """For ever: a body of 100 MB, until the gate ends the connection."""
    while True:
        with contextlib.suppress(OSError), connected(port, context, source=0) as connection:
            connection.sendall(_HEAD + f"content-length: {BODY_BYTES}\r\n\r\n".encode())
            for _ in range(BODY_BYTES // len(_PIECE)):
                connection.sendall(_PIECE)


def main() -> None:
    """``python -m experiments.benchmarks.gate_attack PORT FOLDER``: attack until it is killed."""
    port, context = int(sys.argv[1]), GateFiles.of(Path(sys.argv[2]), proxy=None).context()
    slow = SlowConnections(port, context)
    if slow.fill() < CONNECTIONS:
        raise SystemExit(1)
    threading.Thread(target=send_large_bodies, args=(port, context), daemon=True).start()
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    while True:
        time.sleep(1)
        slow.drip()
        slow.fill()


if __name__ == "__main__":
    main()
