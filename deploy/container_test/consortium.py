"""A consortium of one aggregator and one hospital in containers, from the authority's first command until everything is stopped.

Documents are carried between the parties' folders by this program, as e-mail would.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.container_test.checks import Checks
from deploy.container_test.compose import Project, write_limits, write_variables
from deploy.container_test.engine import CONFINED, Engine
from deploy.container_test.image_checks import UIDS

SITE: Final = "st_mary"
_NETWORK: Final = "cohortium-site_default"
"""The network that compose makes for the gateway; made before, so that the gate's address is known."""
_SUBNET: Final = "10.231.77"
PORT: Final = 8443
_START_SECONDS: Final = 240.0
SITE_FOLDERS: Final = (
    ("", UIDS["agent"], UIDS["gateway"], 0o710),
    ("run", UIDS["agent"], UIDS["gateway"], 0o2710),
    ("gateway", UIDS["agent"], UIDS["gateway"], 0o2750),
    ("gateway/state", UIDS["gateway"], UIDS["gateway"], 0o700),
)
"""A site's folder: name, user, group, mode, as the guide and the tmpfiles.d file have it."""


@dataclass(frozen=True)
class Consortium:
    """What takes part.

    Args:
        engine: Runs containers.
        folder: Of everybody's files; emptied by :meth:`prepare`.
        images: Name of each target's image.
        site: The hospital's compose project.
        aggregator: The consortium's.
    """

    engine: Engine
    folder: Path
    images: dict[str, str]
    site: Project
    aggregator: Project

    @classmethod
    def of(cls, engine: Engine, tools: Path, *, folder: Path, images: dict[str, str], deploy: Path) -> Consortium:
        """Write the variables of both compose files."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        gate = f"{_SUBNET}.1:{PORT}"
        site = write_variables(
            folder / "site.env",
            COHORTIUM_AGENT_IMAGE=images["agent"],
            COHORTIUM_GATEWAY_IMAGE=images["gateway"],
            COHORTIUM_HOME=folder / "site",
            COHORTIUM_RECORDS=folder / "records",
            COHORTIUM_LETTERS=folder / "letters-site",
            COHORTIUM_SITE_NAME=SITE,
            COHORTIUM_GATE=gate,
        )
        aggregator = write_variables(
            folder / "aggregator.env",
            COHORTIUM_AGGREGATOR_IMAGE=images["aggregator"],
            COHORTIUM_HOME=folder / "aggregator",
            COHORTIUM_LETTERS=folder / "letters-aggregator",
            COHORTIUM_GATE_PORT=str(PORT),
        )
        limits = [
            write_limits(folder / "site.yaml", "agent", "gateway"),
            write_limits(folder / "host.yaml", "aggregator"),
        ]
        return cls(
            engine,
            folder,
            images,
            Project(engine, tools, deploy / "site/compose.yaml", site, limits[0]),
            Project(engine, tools, deploy / "aggregator/compose.yaml", aggregator, limits[1]),
        )

    def prepare(self) -> None:
        """Make the folders, as root does once on each machine."""
        for name, user, group, mode in SITE_FOLDERS:
            _folder(self.folder / "site" / name, user, group, mode)
        agent, aggregator = UIDS["agent"], UIDS["aggregator"]
        _folder(self.folder / "letters-site", agent, agent, 0o700)
        for name in ("aggregator", "letters-aggregator", "authority"):
            _folder(self.folder / name, aggregator, aggregator, 0o700)
        _folder(self.folder / "records", 0, agent, 0o750)
        (self.folder / "records/patients.csv").write_text("patient,age\np1,61\n", encoding="utf-8")
        os.chown(self.folder / "records/patients.csv", 0, agent)
        self.engine.podman("network", "create", "--subnet", f"{_SUBNET}.0/24", "--gateway", f"{_SUBNET}.1", _NETWORK)

    def enrol(self) -> None:
        """Authority, aggregator and site become a consortium: the commands of docs/enrolment.md."""
        gate, letters = f"{_SUBNET}.1:{PORT}", "/letters"
        authority = self._officer("init", "cardio")["read_out"]
        self.aggregator.once(
            "aggregator", "aggregator", "init", "--consortium", "cardio", "--gate", gate, "--listen", f"0.0.0.0:{PORT}"
        )
        asked = self.aggregator.once("aggregator", "aggregator", "request", "--output", f"{letters}/request.json")
        self._officer(
            "certify-aggregator", f"{letters}/request.json", "--name", f"{_SUBNET}.1", "--gate", gate,
            "--fingerprint", asked["read_out"], "--output", f"{letters}/answer.json",
        )  # fmt: skip
        self.aggregator.once(
            "aggregator", "aggregator", "install", f"{letters}/answer.json", "--fingerprint", authority
        )
        self._officer("invite", SITE, "--output", f"{letters}/invitation.json")
        self._carry("invitation.json", "aggregator", "site")
        wanted = self.site.once(
            "agent", "site", "enrol", "--invitation", f"{letters}/invitation.json", "--output", f"{letters}/request.json",
            "--fingerprint", authority,
        )  # fmt: skip
        self._carry("request.json", "site", "aggregator", new_name="site-request.json")
        self._officer(
            "admit", f"{letters}/site-request.json", "--fingerprint", wanted["request_read_out"],
            "--output", f"{letters}/admission.json",
        )  # fmt: skip
        self._carry("admission.json", "aggregator", "site")
        self.site.once("agent", "site", "enrol", "--admission", f"{letters}/admission.json")
        self._officer("sites", "--output", f"{letters}/members.json", "--revocations", f"{letters}/revocations.json")
        for name in ("members", "revocations"):
            self.aggregator.once("aggregator", "aggregator", "install", f"{letters}/{name}.json")

    def start(self, checks: Checks) -> None:
        """Start both projects, and wait until the hospital is connected."""
        self.aggregator.compose("up", "--detach")
        healthy = (
            "exec",
            self.aggregator.container("aggregator"),
            "/opt/cohortium/bin/python",
            "/opt/cohortium/health.py",
        )
        well = wait_until(lambda: self.engine.podman(*healthy, check=False).code == 0)
        checks.that(
            "aggregator: /health says that all processes are well", well, found=self.aggregator.logs("aggregator")
        )
        self.site.compose("up", "--detach")
        socket = self.folder / "site/run/agent.sock"
        checks.that("agent: its socket appears", wait_until(socket.is_socket), found=self.site.logs("agent"))
        connected = wait_until(lambda: '"event": "connected"' in self.site.logs("gateway"))
        checks.that("gateway: connects through the gate", connected, found=self.site.logs("gateway"))

    def end(self) -> None:
        """Remove containers and networks, whatever state they are in."""
        self.site.compose("down", check=False)
        self.aggregator.compose("down", check=False)
        self.engine.podman("network", "rm", "--force", _NETWORK, check=False)

    def _officer(self, *words: str) -> dict[str, Any]:
        """One command of the authority, on a machine without network; its letters are those of the aggregator's host here."""
        flags = (
            *CONFINED, "--volume", f"{self.folder}/authority:/authority", "--volume", f"{self.folder}/letters-aggregator:/letters",
        )  # fmt: skip
        words = ("consortium", *words, "--authority", "/authority/office", "--json")
        outcome = self.engine.run(self.images["aggregator"], *words, flags=flags)
        return json.loads(outcome.out)

    def _carry(self, name: str, sender: str, receiver: str, *, new_name: str = "") -> None:
        target = self.folder / f"letters-{receiver}" / (new_name or name)
        shutil.copyfile(self.folder / f"letters-{sender}" / name, target)
        owner = UIDS["agent" if receiver == "site" else "aggregator"]
        os.chown(target, owner, owner)


def wait_until(holds: Callable[[], bool], *, seconds: float = _START_SECONDS) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(1.0)
    return False


def _folder(path: Path, user: int, group: int, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, user, group)
    path.chmod(mode)
