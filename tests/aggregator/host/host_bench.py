"""A host's real processes in a test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from aggregator.host.health import ask
from aggregator.host.home_paths import HostLayout
from aggregator.host.host import Host
from aggregator.host.programs import environment

ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def process(layout: HostLayout, module: str, **variables: str):
    """One of the host's processes alone; its output is in the host's logs."""
    layout.logs.mkdir(exist_ok=True)
    with (layout.logs / f"{module}.log").open("ab") as log:
        found = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "conf.processes.child",
                f"aggregator.host.{module}:main",
                "--home",
                str(layout.folder),
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=environment(layout) | variables,
        )
    try:
        yield found
    finally:
        found.kill()
        found.stdin.close()
        found.wait(10)


@contextlib.contextmanager
def running_host(layout: HostLayout, *, seconds: float = 120):
    """The whole host in a thread; its processes are children of the test."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    host = Host(layout)
    thread = threading.Thread(target=host.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: ask(host.home.health_port)[0] == 200, seconds=seconds, what="the host is well")
        yield host
    finally:
        host.stop()
        thread.join(30)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], object], *, seconds: float, what: str = "it") -> None:
    """Wait, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"expected that {what} within {seconds} s"
        time.sleep(0.1)


def memory_of(number: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{number}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
