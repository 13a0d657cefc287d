"""The peer of the message benchmark: Flower 1.41 as it comes, with an app that does nothing but import torch and answer.

``flower-superlink``, one ``flower-supernode`` per site with its default isolation (every message starts a process), and a ServerApp
that sends one message to each node and waits for the answers with Flower's own ``send_and_receive``. Telemetry, update checks and
run-time installs are off, as they are for ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from experiments.engines.flower import HOST, QUIET, free_port, is_healthy
from federation.errors import TransportError

_START_SECONDS: Final = 240.0
_ROUND_SECONDS: Final = 600.0
_LEAVE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.01
_PROJECT: Final = """\
[project]
name = "peer"
version = "1.0.0"
description = "Answers at once."
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "peer"
[tool.flwr.app.components]
serverapp = "peer.server_app:app"
clientapp = "peer.client_app:app"
[tool.flwr.app.config]
folder = "{folder}"
sites = {sites}
content = {content_bytes}
"""
_CLIENT: Final = """\
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    return Message(message.content, reply_to=message)
"""
_SERVER: Final = """\
import time
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    folder, sites = Path(context.run_config["folder"]), context.run_config["sites"]
    content = bytes(context.run_config["content"])
    while len(nodes := sorted(grid.get_node_ids())) < sites:
        time.sleep(0.1)
    number = 0
    while True:
        number += 1
        while not (folder / f"go-{number}").exists():
            time.sleep(0.01)
        started = time.perf_counter()
        messages = [Message(RecordDict({"bytes": ConfigRecord({"content": content})}), node, "train") for node in nodes]
        answers = list(grid.send_and_receive(messages))
        seconds = time.perf_counter() - started
        good = sum(len(answer.content["bytes"]["content"]) == len(content) for answer in answers)
        (folder / "part").write_text(f"{seconds} {good}")
        (folder / "part").rename(folder / f"done-{number}")
"""


@dataclass
class StockFlower:
    """A deployment of stock Flower on loopback, while it is entered.

    Args:
        folder: Empty.
        sites: How many SuperNodes.
        content_bytes: Of each message, either way.
    """

    folder: Path
    sites: int
    content_bytes: int
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])
    _rounds: int = 0

    def __enter__(self) -> Self:
        address = f"{HOST}:{free_port()}"
        environment = os.environ | QUIET | {"FLWR_HOME": str(self.folder / "home")}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        try:
            self._write_files(address)
            self._start(
                "superlink", "flower-superlink", "--insecure", "--host", HOST, "--port", address.rpartition(":")[2],
                "--disable-runtime-dependency-installation", environment=environment,
            )  # fmt: skip
            self._await(lambda: is_healthy(address))
            for number in range(self.sites):
                self._start(
                    f"supernode-{number}", "flower-supernode", "--insecure", "--superlink", address,
                    "--host", HOST, "--port", str(free_port()), environment=environment,
                )  # fmt: skip
            subprocess.run(  # noqa: S603 - fixed words
                ["flwr", "run", str(self.folder / "app"), "here"],  # noqa: S607 - beside this interpreter, see PATH
                check=True, capture_output=True, env=environment, timeout=_START_SECONDS,
            )  # fmt: skip
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def round(self) -> float:
        """One message to each site, and every answer.

        Returns:
            Seconds from dispatch to the last answer, as the ServerApp measured them.

        Raises:
            TransportError: If a site does not answer.
        """
        self._rounds += 1
        (self.folder / f"go-{self._rounds}").touch()
        done = self.folder / f"done-{self._rounds}"
        self._await(done.exists, seconds=_ROUND_SECONDS)
        seconds, good = done.read_text().split()
        if int(good) != self.sites:
            raise TransportError(f"expected {self.sites} answers of stock Flower, got {good}")
        return float(seconds)

    def close(self) -> None:
        """End every process that was started, and what these have started."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sent)
            if sent is signal.SIGTERM:
                self._wait_for_groups()
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def _wait_for_groups(self) -> None:
        end = time.monotonic() + _LEAVE_SECONDS
        while time.monotonic() < end and any(process.poll() is None for process in self._processes):
            time.sleep(_LOOK_SECONDS)

    def _write_files(self, address: str) -> None:
        settings = {"folder": self.folder, "sites": self.sites, "content_bytes": self.content_bytes}
        files: Mapping[str, str] = {
            "app/pyproject.toml": _PROJECT.format(**settings),
            "app/peer/__init__.py": "",
            "app/peer/client_app.py": _CLIENT,
            "app/peer/server_app.py": _SERVER,
            "home/config.toml": f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "{address}"\ninsecure = true\n',
        }
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _start(self, name: str, *words: str, environment: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(  # noqa: S603 - fixed words
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=dict(environment),
                    start_new_session=True,
                )
            )

    def _await(self, condition: Callable[[], bool], *, seconds: float = _START_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            dead = [process.args for process in self._processes if process.poll() is not None]
            if dead or time.monotonic() > end:
                raise TransportError(
                    f"expected stock Flower to go on, {dead or 'it is late'}", remedy=f"see the logs in {self.folder}"
                )
            time.sleep(_LOOK_SECONDS)
