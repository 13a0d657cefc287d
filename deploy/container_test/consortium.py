"""A consortium of one aggregator and three hospitals in containers, from the authority's first command until nothing is left.

Documents are carried between the parties' folders by this program, as e-mail would. Each hospital has a network of its own, which
leads to this machine's published ports and nowhere else: what the hospital's firewall would let through.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.container_test.checks import Checks
from deploy.container_test.compose import Project, write_limits, write_variables
from deploy.container_test.engine import CONFINED, Engine
from deploy.container_test.image_checks import UIDS

SITES: Final = ("st_mary", "st_luke", "st_anne")
GATE: Final = "gate.cohortium.test"
PORT: Final = 8443
LETTERS: Final = "/letters"
_SUBNET: Final = "10.231.{number}"
_FIRST_SUBNET: Final = 77
_START_SECONDS: Final = 240.0
_PASSPHRASE: Final = "/authority/passphrase.txt"  # noqa: S105 - a file's name
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
        folder: Of everybody's files; emptied by :meth:`of`.
        images: Name of each target's image.
        sites: Each hospital's compose project, by its name.
        aggregator: The consortium's.
    """

    engine: Engine
    folder: Path
    images: Mapping[str, str]
    sites: Mapping[str, Project]
    aggregator: Project

    @classmethod
    def of(cls, engine: Engine, tools: Path, *, folder: Path, images: Mapping[str, str], deploy: Path) -> Consortium:
        """Write the variables of all compose files."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        sites: dict[str, Project] = {}
        for number, site in enumerate(SITES, start=_FIRST_SUBNET):
            variables = write_variables(
                folder / f"{site}.env",
                COHORTIUM_AGENT_IMAGE=images["agent"],
                COHORTIUM_GATEWAY_IMAGE=images["gateway"],
                COHORTIUM_HOME=folder / site / "site",
                COHORTIUM_RECORDS=folder / site / "records",
                COHORTIUM_LETTERS=folder / site / "letters",
                COHORTIUM_SITE_NAME=site,
                COHORTIUM_GATE=f"{GATE}:{PORT}",
            )
            names = {GATE: f"{_SUBNET.format(number=number)}.1"}
            limits = write_limits(folder / f"{site}.yaml", "agent", "gateway", hosts=names)
            sites[site] = Project(site, engine, tools, deploy / "site/compose.yaml", variables, limits)
        variables = write_variables(
            folder / "aggregator.env",
            COHORTIUM_AGGREGATOR_IMAGE=images["aggregator"],
            COHORTIUM_HOME=folder / "aggregator",
            COHORTIUM_LETTERS=folder / "letters-aggregator",
            COHORTIUM_GATE_PORT=str(PORT),
        )
        limits = write_limits(folder / "host.yaml", "aggregator")
        file = deploy / "aggregator/compose.yaml"
        return cls(engine, folder, images, sites, Project("cohortium-host", engine, tools, file, variables, limits))

    def home(self, site: str) -> Path:
        """A site's folder."""
        return self.folder / site / "site"

    def letters(self, party: str) -> Path:
        """Where a party's documents come and go: a site's, or that of ``aggregator``, ``officer`` or ``lead``."""
        return self.folder / party / "letters" if party in self.sites else self.folder / f"letters-{party}"

    def prepare(self, records: Mapping[str, Path]) -> None:
        """Make the folders and networks, as root does once on each machine.

        Args:
            records: Each hospital's folder with its records and their mapping, for copying.
        """
        agent, aggregator = UIDS["agent"], UIDS["aggregator"]
        for number, site in enumerate(self.sites, start=_FIRST_SUBNET):
            for name, user, group, mode in SITE_FOLDERS:
                _folder(self.home(site) / name, user, group, mode)
            _folder(self.letters(site), agent, agent, 0o700)
            place = self.folder / site / "records"
            shutil.copytree(records[site], place)
            for path in (place, *place.iterdir()):
                os.chown(path, 0, agent)
                path.chmod(0o750 if path.is_dir() else 0o640)
            subnet = _SUBNET.format(number=number)
            self.engine.podman(
                "network", "create", "--internal", "--subnet", f"{subnet}.0/24", "--gateway", f"{subnet}.1", _network(site)
            )  # fmt: skip
        for name in ("aggregator", "letters-aggregator", "authority", "letters-officer", "letters-lead"):
            _folder(self.folder / name, aggregator, aggregator, 0o700)
        secret = self.folder / "authority/passphrase.txt"
        secret.write_text(os.urandom(16).hex() + "\n", encoding="ascii")
        os.chown(secret, aggregator, aggregator)

    def enrol(self) -> None:
        """Authority, aggregator and sites become a consortium: the commands of the guides, with the options of containers."""
        gate = f"{GATE}:{PORT}"
        authority = self.officer("init", "cardio", "--passphrase-file", _PASSPHRASE)["read_out"]
        self.aggregator.once(
            "aggregator", "aggregator", "init", "--consortium", "cardio", "--gate", gate, "--listen", f"0.0.0.0:{PORT}"
        )
        asked = self.aggregator.once(
            "aggregator", "aggregator", "request", "--output", f"{LETTERS}/aggregator-request.json"
        )
        self.carry("aggregator-request.json", "aggregator", "officer")
        self.officer(
            "certify-aggregator", "aggregator-request.json", "--name", GATE, "--gate", gate,
            "--fingerprint", asked["read_out"], "--output", "aggregator-admission.json", "--passphrase-file", _PASSPHRASE,
        )  # fmt: skip
        self.carry("aggregator-admission.json", "officer", "aggregator")
        self.aggregator.once(
            "aggregator", "aggregator", "install", f"{LETTERS}/aggregator-admission.json", "--fingerprint", authority
        )
        for site in self.sites:
            self._enrol(site, authority)
        self.officer(
            "sites", "--output", "members.json", "--revocations", "revocations.json", "--passphrase-file", _PASSPHRASE
        )
        self.carry("members.json", "officer", "lead")
        for name in ("members.json", "revocations.json"):
            self.carry(name, "officer", "aggregator")
            self.aggregator.once("aggregator", "aggregator", "install", f"{LETTERS}/{name}")

    def _enrol(self, site: str, authority: str) -> None:
        invitation, request, admission = (f"{site}.{name}.json" for name in ("invitation", "request", "admission"))
        self.officer("invite", site, "--output", invitation)
        self.carry(invitation, "officer", site)
        wanted = self.sites[site].once(
            "agent", "site", "enrol", "--invitation", f"{LETTERS}/{invitation}", "--output", f"{LETTERS}/{request}",
            "--fingerprint", authority,
        )  # fmt: skip
        self.carry(request, site, "officer")
        self.officer(
            "admit", request, "--fingerprint", wanted["request_read_out"], "--output", admission,
            "--passphrase-file", _PASSPHRASE,
        )  # fmt: skip
        self.carry(admission, "officer", site)
        self.sites[site].once("agent", "site", "enrol", "--admission", f"{LETTERS}/{admission}")

    def start(self, checks: Checks) -> None:
        """Start all projects, and wait until the hospitals are connected."""
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
        for site, project in self.sites.items():
            project.compose("up", "--detach")
            self._let_through(site)
        for site, project in self.sites.items():
            socket = self.home(site) / "run/agent.sock"
            checks.that(
                f"{site}: the agent's socket appears", wait_until(socket.is_socket), found=project.logs("agent")
            )
            connected = wait_until(lambda project=project: '"event": "connected"' in project.logs("gateway"))
            checks.that(f"{site}: the gateway connects through the gate", connected, found=project.logs("gateway"))

    def _let_through(self, site: str) -> None:
        """What goes to a published port is forwarded to its container, which podman does not do for an internal network.

        A hospital's gateway still has no route but to this machine's address in its own network.
        """
        bridge = self.engine.podman(
            "network", "inspect", "--format", "{{.NetworkInterface}}", _network(site)
        ).out.strip()
        Path(f"/proc/sys/net/ipv4/conf/{bridge}/forwarding").write_text("1", encoding="ascii")

    def end(self) -> None:
        """Remove containers and networks, whatever state they are in."""
        for project in (*self.sites.values(), self.aggregator):
            project.compose("down", check=False)
        for site in self.sites:
            self.engine.podman("network", "rm", "--force", _network(site), check=False)

    def remove_files(self) -> None:
        """Delete everybody's files, keys among them."""
        shutil.rmtree(self.folder)

    def left(self) -> list[str]:
        """Containers and networks that are still there, and the folder."""
        containers = self.engine.podman("ps", "--all", "--format", "{{.Names}}").out.split()
        networks = self.engine.podman("network", "ls", "--format", "{{.Name}}").out.split()
        folders = [str(self.folder)] if self.folder.exists() else []
        return containers + [name for name in networks if name != "podman"] + folders

    def officer(self, *words: str) -> dict[str, Any]:
        """One command of the authority with ``--json``, in a container without network that is gone afterwards."""
        flags = ("--volume", f"{self.folder}/authority:/authority")
        words = ("consortium", *words, "--authority", "/authority/office", "--json")
        return json.loads(self.desk("officer", *words, flags=flags))

    def desk(self, who: str, *words: str, flags: tuple[str, ...] = ()) -> str:
        """One command of the officer or the lead, in a container without network that is gone afterwards."""
        own = ("--volume", f"{self.letters(who)}:{LETTERS}", "--workdir", LETTERS)
        said = self.engine.run(self.images["aggregator"], *words, flags=(*CONFINED, *own, *flags)).out
        self.engine.typed.append(words)
        return said

    def carry(self, name: str, giver: str, taker: str) -> None:
        """A file, or a folder of files, is sent from one to the other."""
        source, target = self.letters(giver) / name, self.letters(taker) / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        owner = UIDS["agent" if taker in self.sites else "aggregator"]
        for path in (target, *target.rglob("*")):
            os.chown(path, owner, owner)


def wait_until(holds: Callable[[], bool], *, seconds: float = _START_SECONDS, every: float = 1.0) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(every)
    return False


def _network(site: str) -> str:
    """The network that compose makes for a site's gateway; made before, so that what it reaches is known."""
    return f"{site}_default"


def _folder(path: Path, user: int, group: int, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, user, group)
    path.chmod(mode)
