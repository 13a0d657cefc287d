"""A Ray cluster of two nodes with one processor each, on this machine and with a token of its own; every process of it ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

MARK = "COHORTIUM_TEST_RAY"
"""A variable of every process of the cluster, whatever starts it, by which what is left is found."""


@dataclass(frozen=True)
class Machines:
    """A running cluster.

    Args:
        address: ``HOST:PORT``.
        environment: Of its processes, and of a driver.
        logs: Of the workers of both nodes.
        nodes: The two commands `ray start`, which end only with their node.
    """

    address: str
    environment: Mapping[str, str]
    logs: Path
    nodes: tuple[subprocess.Popen[bytes], ...]

    def is_running(self) -> bool:
        """Whether both nodes are there."""
        return all(node.poll() is None for node in self.nodes)

    def jobs(self) -> set[str]:
        """The drivers that have had workers here: ``worker-WORKER-JOB-PROCESS.out``."""
        return {path.name.split("-")[2] for path in self.logs.glob("worker-*.out")} - {"ffffffff"}


@contextlib.contextmanager
def two_machines() -> Generator[Machines]:
    """The cluster, started as the guide says; without the variables that keep Flower and Ray quiet: these the engine brings."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # a path of Ray's sockets has at most 107 characters
    unset = {"RAY_ADDRESS", "FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED", "DO_NOT_TRACK"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {
        MARK: folder.name,
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    started: list[subprocess.Popen[bytes]] = []
    try:
        head = (
            "--head",
            "--port=0",
            f"--temp-dir={folder}",
            "--include-dashboard=false",
            f"--ray-client-server-port={_free_port()}",
        )
        started.append(_start(folder / "head.log", environment, *head))
        address = (folder / "ray_current_cluster").read_text(encoding="utf-8").strip()
        started.append(_start(folder / "second.log", environment, f"--address={address}"))
        yield Machines(address, environment, folder / "session_latest" / "logs", tuple(started))
    finally:
        for node in reversed(started):
            node.terminate()
        for node in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(timeout=20)
        for number in left_of(folder.name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def left_of(mark: str) -> list[int]:
    """The processes that were started for a cluster, this one's children or not."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _start(log: Path, environment: Mapping[str, str], *options: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("ray")), "start", *options, "--block", "--disable-usage-stats"]
    sizes = [
        "--num-cpus=1",
        "--num-gpus=0",
        "--object-store-memory=80000000",
        f"--dashboard-agent-listen-port={_free_port()}",
    ]
    with log.open("wb") as stream:
        node = subprocess.Popen(
            [*command, *sizes], env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    end = time.monotonic() + 120
    while b"Ray runtime started" not in log.read_bytes():
        if node.poll() is not None or time.monotonic() > end:
            node.kill()
            raise AssertionError(log.read_text(encoding="utf-8", errors="replace"))
        time.sleep(0.1)
    return node


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
