"""The `flower` engine: real SuperLink, SuperNode and agent processes on this machine's loopback interface.

The same coordinator, agents and messages as in every other engine::

    this process: supervisor and coordinator ── HTTP ── SuperLink ── HTTP ── SuperNode + forwarder ── Unix socket ── agent

One SuperNode and one agent per site. Nothing listens on another interface, so there is no TLS; a deployment has it.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from conf.processes.supervisor import Program, Supervisor
from federation.errors import MissingDependencyError

if TYPE_CHECKING:
    from aggregator.transport import Transport

_T = TypeVar("_T")
QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_LOG_LEVEL": "WARNING",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
"""What every process of Flower gets: it calls nobody, and takes one core."""
HOST: Final = "127.0.0.1"
SUPERLINK: Final = "superlink"
_IN_MEMORY: Final = ":flwr-in-memory:"
"""Flower's state is transport only: a SuperLink that was killed is met by a new run and by SuperNodes that register anew."""


def run_with_flower(
    folders: Mapping[str, Path],
    run: Callable[[Transport], _T],
    *,
    folder: Path,
    deadline_seconds: float = 3600.0,
) -> _T:
    """Run a study over Flower processes.

    Args:
        folders: Site to its study folder.
        run: What to do with the transport: the coordinator's call.
        folder: Of the processes' logs and of Flower's state.
        deadline_seconds: How long a site may take to answer.

    Returns:
        What ``run`` returned.

    Raises:
        MissingDependencyError: If Flower is not installed.
        TransportError: If a process does not start; the message names its log.
        CohortiumError: Whatever ``run`` raised.
    """
    os.environ.update(
        {name: value for name, value in QUIET.items() if name.startswith("FLWR") or "PROXY" in name.upper()}
    )
    try:
        from aggregator.app import GridTransport
        from aggregator.superlink import Link, LinkGrid
    except ImportError as failure:
        raise MissingDependencyError(
            "expected Flower for engine=flower, it is not installed",
            remedy="pip install 'cohortium[simulation]', or use engine=inline",
        ) from failure
    logging.getLogger("flwr").setLevel(logging.ERROR)
    shutil.rmtree(folder, ignore_errors=True)  # Flower's state is transport only: a resumed study starts it anew
    folder.mkdir(parents=True)
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(secrets.token_bytes(32))
    address = f"{HOST}:{free_port()}"
    environment = os.environ | QUIET | {"FLWR_HOME": str(folder / "flwr_home")}
    with tempfile.TemporaryDirectory(prefix="cohortium-") as sockets, Supervisor(folder, environment) as supervisor:
        agents = _agents(folders, Path(sockets))
        nodes = _supernodes(folders, Path(sockets), address=address, secret=secret)
        supervisor.start([_superlink(address=address, secret=secret), *agents])
        supervisor.wait_until_ready([SUPERLINK])
        supervisor.start(nodes)
        supervisor.wait_until_ready([program.name for program in (*agents, *nodes)])

        link = Link(address, secret=secret.read_bytes())

        def open_again() -> LinkGrid:
            supervisor.wait_until_ready([SUPERLINK], may_die=True)
            return link.open()

        try:
            return run(
                GridTransport(
                    open_again(), sites=tuple(folders), deadline_seconds=deadline_seconds, reconnect=open_again
                )
            )
        finally:
            link.close()


def _superlink(*, address: str, secret: Path) -> Program:
    host, _, port = address.partition(":")
    return Program(
        name=SUPERLINK,
        entry="flwr.superlink.cli.flower_superlink:flower_superlink",
        arguments=(
            "--insecure", "--host", host, "--port", port, "--isolation", "process",
            "--superexec-auth-secret-file", str(secret), "--database", _IN_MEMORY,
            "--disable-runtime-dependency-installation",
        ),
        ready=lambda: is_healthy(address),
    )  # fmt: skip


def _agents(folders: Mapping[str, Path], sockets: Path) -> list[Program]:
    return [
        Program(
            name=f"agent-{site}",
            entry="site_client.agent_process:main",
            arguments=("--folder", str(path.resolve()), "--socket", str(sockets / str(number))),
            ready=(sockets / str(number)).is_socket,
        )
        for number, (site, path) in enumerate(folders.items())
    ]


def _supernodes(folders: Mapping[str, Path], sockets: Path, *, address: str, secret: Path) -> list[Program]:
    def program(number: int, site: str) -> Program:
        port = free_port()
        return Program(
            name=f"supernode-{site}",
            entry="site_client.gateway.supernode:main",
            arguments=(
                "--site", site, "--socket", str(sockets / str(number)), "--secret", str(secret),
                "--superlink", address, "--port", str(port),
            ),
            ready=lambda: is_healthy(f"{HOST}:{port}"),
        )  # fmt: skip

    return [program(number, site) for number, site in enumerate(folders)]


def is_healthy(address: str) -> bool:
    """Whether a Flower process answers ``/health``.

    Args:
        address: ``host:port``.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/health", timeout=2) as answer:
            return answer.status == 200  # noqa: PLR2004 - HTTP
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port of the loopback interface that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
