"""The compose files, as a hospital and a consortium start them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.container_test.engine import OPEN_FILES, Engine, Outcome, command

_SERVICE: Final = "com.docker.compose.service"
_PROJECT: Final = "com.docker.compose.project"


@dataclass(frozen=True)
class Project:
    """One compose file and its variables.

    Args:
        name: Of the project: several sites share this machine, which have one compose file and a machine each in life.
        engine: Where images and containers are.
        tools: Folder with ``podman-compose``.
        file: The compose file.
        variables: Its environment file.
        limits: A second compose file, with what this machine needs beside (:func:`write_limits`).
    """

    name: str
    engine: Engine
    tools: Path
    file: Path
    variables: Path
    limits: Path

    def compose(self, *words: str, check: bool = True) -> Outcome:
        """One compose command."""
        start = (
            str(self.tools / "podman-compose"), "--in-pod", "false", "--project-name", self.name, "--file", str(self.file),
            "--file", str(self.limits), "--env-file", str(self.variables),
        )  # fmt: skip
        return command((*start, *words), environment=self.engine.environment, check=check)

    def once(self, service: str, *words: str) -> dict[str, Any]:
        """Run one command with ``--json`` in a container of a service, as the guide says, and read what it prints."""
        outcome = self.compose("run", "--rm", "-T", "--no-deps", service, *words, "--json")
        self.engine.typed.append(words)
        return json.loads(outcome.out[outcome.out.index("{") :])

    def typed(self, service: str, *words: str) -> str:
        """Run one command in the service's running container, where its letters lie, as the guide says."""
        start = ("exec", "--workdir", "/letters", self.container(service), "cohortium")
        said = self.engine.podman(*start, *words).out
        self.engine.typed.append(words)
        return said

    def asked(self, service: str, *words: str) -> Any:  # noqa: ANN401 - whatever the command prints
        """:meth:`typed` with ``--json``, and what it printed as data."""
        return json.loads(self.typed(service, *words, "--json"))

    def container(self, service: str) -> str:
        """The container of a service, running or not."""
        labels = (f"label={_SERVICE}={service}", f"label={_PROJECT}={self.name}")
        filters = [word for label in labels for word in ("--filter", label)]
        return self.engine.podman("ps", "--all", "--quiet", *filters).out.split()[0]

    def details(self, service: str) -> dict[str, Any]:
        """What the runtime was told about a service's container."""
        return json.loads(self.engine.podman("inspect", self.container(service)).out)[0]

    def python(self, service: str, code: str, *arguments: str, check: bool = True) -> Outcome:
        """Python code inside the running container of a service, as its user."""
        words = ("exec", self.container(service), "/opt/cohortium/bin/python", "-c", code, *arguments)
        return self.engine.podman(*words, check=check)

    def logs(self, service: str) -> str:
        """All that a service said."""
        return self.engine.podman("logs", self.container(service), check=False).text


def write_variables(path: Path, **values: str | Path) -> Path:
    """Write an environment file."""
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    return path


def write_limits(path: Path, *services: str, hosts: Mapping[str, str] | None = None) -> Path:
    """Write a compose file that adds what a machine without systemd, and without the right to raise limits, needs.

    Health checks of podman are timers of systemd. A limit that compose sets makes podman forget its own defaults for the others.

    Args:
        path: The file.
        services: Of the compose file beside it.
        hosts: Names and addresses that a name server would tell the last service.
    """
    limit = f"{{soft: {OPEN_FILES}, hard: {OPEN_FILES}}}"
    content: dict[str, dict[str, str]] = {
        name: {"healthcheck": "{disable: true}", "ulimits": f"{{nofile: {limit}, nproc: {limit}}}"} for name in services
    }
    if hosts:
        content[services[-1]]["extra_hosts"] = json.dumps([f"{name}:{address}" for name, address in hosts.items()])
    lines = [
        f"  {name}: {{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}" for name, keys in content.items()
    ]
    path.write_text("services:\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path
