"""The compose files, as a hospital and a consortium start them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.container_test.engine import OPEN_FILES, Engine, Outcome, command

_LABEL: Final = "com.docker.compose.service"


@dataclass(frozen=True)
class Project:
    """One compose file and its variables.

    Args:
        engine: Where images and containers are.
        tools: Folder with ``podman-compose``.
        file: The compose file.
        variables: Its environment file.
        limits: A second compose file, with what this machine needs beside (:func:`write_limits`).
    """

    engine: Engine
    tools: Path
    file: Path
    variables: Path
    limits: Path

    def compose(self, *words: str, check: bool = True) -> Outcome:
        """One compose command."""
        start = (
            str(self.tools / "podman-compose"), "--in-pod", "false", "--file", str(self.file), "--file", str(self.limits),
            "--env-file", str(self.variables),
        )  # fmt: skip
        return command((*start, *words), environment=self.engine.environment, check=check)

    def once(self, service: str, *words: str) -> dict[str, Any]:
        """Run one command with ``--json`` in a container of a service, as the guide says, and read what it prints."""
        outcome = self.compose("run", "--rm", "-T", "--no-deps", service, *words, "--json")
        return json.loads(outcome.out[outcome.out.index("{") :])

    def container(self, service: str) -> str:
        """The running container of a service."""
        found = self.engine.podman("ps", "--all", "--quiet", "--filter", f"label={_LABEL}={service}").out.split()
        return found[0]

    def details(self, service: str) -> dict[str, Any]:
        """What the runtime was told about a service's container."""
        return json.loads(self.engine.podman("inspect", self.container(service)).out)[0]

    def python(self, service: str, code: str, *, check: bool = True) -> Outcome:
        """Python code inside the running container of a service, as its user."""
        words = ("exec", self.container(service), "/opt/cohortium/bin/python", "-c", code)
        return self.engine.podman(*words, check=check)

    def logs(self, service: str) -> str:
        """All that a service said."""
        return self.engine.podman("logs", self.container(service), check=False).text


def write_variables(path: Path, **values: str | Path) -> Path:
    """Write an environment file."""
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    return path


def write_limits(path: Path, *services: str) -> Path:
    """Write a compose file that adds what a machine without systemd, and without the right to raise limits, needs.

    Health checks of podman are timers of systemd. A limit that compose sets makes podman forget its own defaults for the others.
    """
    limit = f"{{soft: {OPEN_FILES}, hard: {OPEN_FILES}}}"
    lines = [
        f"  {name}: {{healthcheck: {{disable: true}}, ulimits: {{nofile: {limit}, nproc: {limit}}}}}"
        for name in services
    ]
    path.write_text("services:\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path
