"""One message from the coordinator through our gate to a site and back, over mutual TLS, beside stock Flower's without TLS.

The host is real: SuperLink with its database, gate, and the consortium's certificates, made by the commands of the guides. So is
the gateway's process. Behind its Unix socket stands an agent that answers at once, so that nothing but the way is measured.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.console import Console

from aggregator.app import GridTransport
from aggregator.host.gate import TOKEN_HEADER
from aggregator.host.home import LOOPBACK
from aggregator.host.home_paths import HostLayout, read_small
from aggregator.host.registering import Registrar
from aggregator.host.revocation import Membership
from aggregator.superlink import Link
from experiments.engines.flower import HOST, free_port
from experiments.rehearsal.terminal import Terminal, wait_for
from federation.errors import TransportError
from federation.protocol.messages import Envelope, PrepareRequest
from site_client.accepted_code import accept_code
from site_client.agent_process import serve
from site_client.home_paths import SiteLayout

SITE: Final = "north"
_START_SECONDS: Final = 300.0
_ANSWER_SECONDS: Final = 120.0
_STUDY: Final = "sha256:" + "0" * 64
_PORTS: Final = 4


@dataclass
class GateDeployment:
    """A host and one site, while it is entered.

    Args:
        folder: Empty.
        content_bytes: Of an answer.
        members: Sites with a certificate; only :data:`SITE` answers.
    """

    folder: Path
    content_bytes: int
    members: tuple[str, ...] = (SITE,)
    port: int = field(default_factory=free_port)
    """Of the gate, on loopback."""
    _terminals: list[Terminal] = field(default_factory=list[Terminal])
    _link: Link | None = None
    _transport: GridTransport | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def message(self) -> float:
        """One message there and back.

        Returns:
            Seconds.

        Raises:
            TransportError: If no answer comes.
        """
        if self._transport is None:
            raise TransportError("expected a deployment that is running, it is not")
        request = Envelope(PrepareRequest(study=_STUDY, site=SITE)).to_bytes()
        started = time.perf_counter()
        (reply,) = self._transport.exchange({SITE: request})
        seconds = time.perf_counter() - started
        if reply.content is None or len(reply.content) != self.content_bytes:
            raise TransportError(f"expected the site's answer, got {reply.reason or 'another'}")
        return seconds

    def close(self) -> None:
        """End every process. Safe to call twice."""
        if self._link is not None:
            self._link.close()
        for terminal in reversed(self._terminals):
            terminal.close()
        self._terminals.clear()

    def _terminal(self, who: str, variable: str) -> Terminal:
        desk = self.folder / "desks" / who
        desk.mkdir(parents=True)
        terminal = Terminal(who, desk, {variable: str(self.folder / who)}, Console(file=StringIO()))
        self._terminals.append(terminal)
        return terminal

    def _start(self) -> None:
        logging.getLogger("flwr").setLevel(logging.ERROR)
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
        officer = self._terminal("authority", "COHORTIUM_AUTHORITY")
        host = self._terminal("aggregator", "COHORTIUM_AGGREGATOR")
        sites = {name: self._terminal(name, "COHORTIUM_SITE") for name in self.members}
        gate = f"localhost:{self.port}"
        authority = officer.ask("consortium", "init", "bench")["read_out"]
        _admit_host(officer, host, authority, gate=gate, listen=f"{HOST}:{self.port}")
        for name, site in sites.items():
            _admit_site(officer, host, site, authority, name=name)
        layout = HostLayout(self.folder / "aggregator")
        running = host.start("aggregator", "start", log=self.folder / "aggregator.log")
        wait_for(
            "the aggregator's host to be up (see aggregator.log)",
            lambda: not host.ask("aggregator", "status", allowed=(0, 51)).get("problems", ["unknown"]),
            seconds=_START_SECONDS,
            alive=lambda: running.poll() is None,
        )
        place = SiteLayout(self.folder / SITE)
        place.run.mkdir(exist_ok=True)
        accept_code(place, clock=_now, thorough=False)  # as the first approval of a study does
        answer = bytes(self.content_bytes)
        threading.Thread(target=serve, args=(place.agent_socket, lambda _: answer), daemon=True).start()
        sites[SITE].start("site", "gateway", "--site", SITE, "--gate", gate, log=self.folder / "gateway.log")
        self._connect(layout)

    def _connect(self, layout: HostLayout) -> None:
        headers = {TOKEN_HEADER: read_small(layout.control_token, what="the host's token").decode()}
        address = f"{LOOPBACK}:{layout.read().superlink_port}"
        membership = Membership(layout, clock=time.monotonic, now=_now, reread_seconds=5.0)
        registrar = Registrar(address, headers=headers, membership=membership)
        self._link = Link(
            address, secret=read_small(layout.executor_secret, what="the executors' secret"), headers=headers
        )
        self._transport = GridTransport(
            self._link.open(),
            sites=(SITE,),
            deadline_seconds=_ANSWER_SECONDS,
            start_seconds=_START_SECONDS,
            sites_by_node=registrar.sites,
        )


def _admit_host(officer: Terminal, host: Terminal, authority: str, *, gate: str, listen: str) -> None:
    """The host's settings and certificate."""
    host.run(
        "aggregator", "init", "--consortium", "bench", "--gate", gate, "--listen", listen, "--no-tracking",
        "--first-port", str(_free_ports()),
    )  # fmt: skip
    request, admission = officer.folder / "host-request.json", officer.folder / "host-admission.json"
    shown = host.ask("aggregator", "request", "--output", str(request))["read_out"]
    officer.run(
        "consortium", "certify-aggregator", str(request), "--name", "localhost", "--gate", gate,
        "--fingerprint", shown, "--output", str(admission),
    )  # fmt: skip
    host.run("aggregator", "install", str(admission), "--fingerprint", authority)


def _admit_site(officer: Terminal, host: Terminal, site: Terminal, authority: str, *, name: str) -> None:
    """The site's keys and certificate, and the list of members for the host."""
    papers = ("invitation", "request", "admission", "members", "revocations")
    invitation, request, admission, members, revocations = (
        str(officer.folder / f"{name}-{paper}.json") for paper in papers
    )
    officer.run("consortium", "invite", name, "--output", invitation)
    shown = site.ask(
        "site", "enrol", "--invitation", invitation, "--output", request, "--fingerprint", authority
    )["request_read_out"]  # fmt: skip
    officer.run("consortium", "admit", request, "--fingerprint", shown, "--output", admission)
    site.run("site", "enrol", "--admission", admission)
    officer.run("consortium", "sites", "--output", members, "--revocations", revocations)
    for paper in (members, revocations):
        host.run("aggregator", "install", paper)


def _free_ports() -> int:
    """The first of a few neighbouring ports that nobody uses at this moment."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + _PORTS):
                with socket.socket() as probe:
                    probe.bind((HOST, port))
        except (OSError, OverflowError):
            continue
        return first


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)
