"""A consortium of three hospitals, from an empty folder to a released model, in the steps of the guides.

Everybody has a terminal and a folder of their own, and whatever one gives to another is a file that is copied: as it would be by
e-mail. Nothing here knows more than the guides say.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console

from experiments.rehearsal.machine import free_port, free_ports, two_accounts
from experiments.rehearsal.networks import NO_NETWORK, PORT, Networks
from experiments.rehearsal.records import RehearsedRecords
from experiments.rehearsal.terminal import Terminal, wait_for
from federation.errors import StudyError

DESKS: Final = "desks"
"""Everybody's files, in the folder of a rehearsal."""
_SEED: Final = 7
_START_SECONDS: Final = 600.0
_STUDY_SECONDS: Final = 3600.0
_POLICY: Final = {
    "allowed_provenance": ["patients", "public", "synthetic"],
    "allow_test_seed": True,
    "epsilon_cap_per_study": 8.0,
    "allowed_aggregation": ["masked"],
}
"""What these hospitals change in the example policy: the rehearsal's records are not of patients."""


@dataclass
class Rehearsal:
    """The people, their terminals, and the steps.

    Args:
        folder: Empty.
        records: Of the hospitals.
        rounds: Of the study.
        console: Where commands are shown.
        networks: One for each party; ``None``: all are in this machine's.
        terminal: What everybody works at.
    """

    folder: Path
    records: RehearsedRecords
    rounds: int
    console: Console
    networks: Networks | None = None
    terminal: type[Terminal] = Terminal
    officer: Terminal = field(init=False)
    host: Terminal = field(init=False)
    lead: Terminal = field(init=False)
    sites: dict[str, Terminal] = field(init=False)

    def __post_init__(self) -> None:
        own = self.networks
        offline, host = ((), ()) if own is None else (NO_NETWORK, own.host)
        self.officer = self._terminal("officer", "COHORTIUM_AUTHORITY", "authority", offline)
        self.host = self._terminal("aggregator host", "COHORTIUM_AGGREGATOR", "aggregator", host)
        self.lead = self._terminal("study lead", "COHORTIUM_AGGREGATOR", "aggregator", host)
        self.sites = {
            site: self._terminal(f"site {site}", "COHORTIUM_SITE", site, () if own is None else own.site(site))
            for site in self.records.mappings
        }

    def _terminal(self, who: str, variable: str, home: str, prefix: tuple[str, ...]) -> Terminal:
        desk = self.folder / DESKS / who.replace(" ", "_")
        desk.mkdir(parents=True)
        return self.terminal(who, desk, {variable: str(self.folder / home)}, self.console, prefix)

    def close(self) -> None:
        """End every process that was started."""
        for terminal in (*self.sites.values(), self.host):
            terminal.close()

    def _send(self, giver: Terminal, name: str, taker: Terminal) -> None:
        shutil.copy(giver.folder / name, taker.folder / name)

    def found(self) -> None:
        """The authority, the aggregator's host, and its certificate."""
        self._authority = self.officer.ask("consortium", "init", "rehearsal")["read_out"]
        if self.networks is None:
            port = free_port()
            name, listen = "localhost", f"127.0.0.1:{port}"
        else:
            name, port = self.networks.gate, PORT
            listen = f"{name}:{port}"
        self.host.run(
            "aggregator", "init", "--consortium", "rehearsal", "--gate", f"{name}:{port}",
            "--listen", listen, "--first-port", str(free_ports(4)),
        )  # fmt: skip
        shown = self.host.ask("aggregator", "request", "--output", "aggregator-request.json")["read_out"]
        self._send(self.host, "aggregator-request.json", self.officer)
        self.officer.run(
            "consortium", "certify-aggregator", "aggregator-request.json", "--name", name,
            "--gate", f"{name}:{port}", "--fingerprint", shown, "--output", "aggregator-admission.json",
        )  # fmt: skip
        self._send(self.officer, "aggregator-admission.json", self.host)
        self.host.run("aggregator", "install", "aggregator-admission.json", "--fingerprint", self._authority)

    def enrol(self) -> None:
        """Every site: invitation, request, admission; then the list of members for the host."""
        for site, terminal in self.sites.items():
            invitation, request, admission = (f"{site}.{name}.json" for name in ("invitation", "request", "admission"))
            self.officer.run("consortium", "invite", site, "--output", invitation)
            self._send(self.officer, invitation, terminal)
            shown = terminal.ask(
                "site", "enrol", "--invitation", invitation, "--output", request, "--fingerprint", self._authority
            )["request_read_out"]
            self._send(terminal, request, self.officer)
            self.officer.run("consortium", "admit", request, "--fingerprint", shown, "--output", admission)
            self._send(self.officer, admission, terminal)
            terminal.run("site", "enrol", "--admission", admission)
        self.officer.run("consortium", "sites", "--output", "members.json", "--revocations", "revocations.json")
        for name in ("members.json", "revocations.json"):
            self._send(self.officer, name, self.host)
            self.host.run("aggregator", "install", name)
        self._send(self.officer, "members.json", self.lead)

    def propose(self) -> None:
        """The lead writes and signs a study; every site reviews and approves it."""
        lead_key = self.lead.ask("study", "lead-key", "-o", "lead.key")["lead"]
        patients = [
            word for site, n in self.records.training_patients.items() for word in ("--patients", f"{site}={n}")
        ]
        self.lead.run(
            "study", "new", "--contract", str(self.records.contract), "--members", "members.json", *patients,
            "--provenance", self.records.provenance, "--rounds", str(self.rounds), "--epsilon", "4", "-o", "study.yaml",
        )  # fmt: skip
        text = (self.lead.folder / "study.yaml").read_text()
        (self.lead.folder / "study.yaml").write_text(text.replace("FILL IN", "Rehearsal"))
        self.lead.run("study", "check", "study.yaml")
        coordinator = yaml.safe_load((self.sites_home(next(iter(self.sites))) / "site.json").read_text())
        others = str(len(self.sites) - 1)
        self.lead.run(
            "study", "sign", "study.yaml", "--key", "lead.key", "--coordinator", coordinator["coordinator_key"],
            "--approvals-needed", others, "--test-seed", str(_SEED), "-o", "proposal.json",
        )  # fmt: skip
        for site, terminal in self.sites.items():
            self._send(self.lead, "proposal.json", terminal)
            self._decide(site, terminal, lead_key)
            self._send(terminal, f"approve-{site}.json", self.lead)
        answers = [f"approve-{site}.json" for site in self.sites]
        self.lead.run("study", "approvals", "proposal.json", *answers, "-o", "dossier.json")
        for terminal in self.sites.values():
            self._send(self.lead, "dossier.json", terminal)
            terminal.run("site", "approvals", "dossier.json")

    def _decide(self, site: str, terminal: Terminal, lead_key: str) -> None:
        home = self.sites_home(site)
        mapping = self.records.mappings[site]
        terminal.run("site", "policy", "init", "--lead", lead_key)
        policy = yaml.safe_load((home / "policy.yaml").read_text()) | _POLICY
        (home / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
        terminal.run("site", "policy", "check")
        (home / "mapping.yaml").write_text(yaml.safe_dump({"mapping": str(mapping)}))
        terminal.run(
            "site", "ledger", "create", str(home / "ledger.sqlite"), "--population", site, "--site", site,
            "--epsilon", "10", "--delta", "1e-5",
        )  # fmt: skip
        terminal.run("site", "review", "proposal.json")
        terminal.run("site", "approve", "proposal.json", "--officer", f"Officer of {site}")

    def sites_home(self, site: str) -> Path:
        """The site's home folder."""
        return Path(self.sites[site].environment["COHORTIUM_SITE"])

    def connect(self) -> dict[str, subprocess.Popen[bytes]]:
        """The host and every site start their processes, which find each other.

        Returns:
            The supervising process of ``host`` and of every site.
        """
        running = self.start_host()
        wait_for(
            "the aggregator's host to be up (see aggregator.log)",
            lambda: not self.host.ask("aggregator", "status", allowed=(0, 51)).get("problems", ["unknown"]),
            seconds=_START_SECONDS,
            alive=lambda: running.poll() is None,
        )
        started = {"host": running}
        for site, terminal in self.sites.items():
            terminal.run("site", "data", "check", "--manifest", self._sealed(terminal), "--mapping",
                         str(self.records.mappings[site]))  # fmt: skip
            started[site] = self.start_site(site)
        return started

    def start_host(self) -> subprocess.Popen[bytes]:
        """Start the aggregator's host."""
        return self.host.start("aggregator", "start", log=self.folder / "aggregator.log")

    def start_site(self, site: str) -> subprocess.Popen[bytes]:
        """Start a site's processes, as its machine does after a reboot."""
        return self.sites[site].start("site", "start", *two_accounts(), log=self.folder / f"{site}.log")

    def _sealed(self, terminal: Terminal) -> str:
        self.lead.run("study", "seal", "study.yaml", "-o", "sealed.json")
        self._send(self.lead, "sealed.json", terminal)
        return "sealed.json"

    def launch(self) -> Path:
        """The study begins.

        Returns:
            Its folder at the aggregator's host.
        """
        answers = [f"approve-{site}.json" for site in self.sites]
        launched = self.lead.ask("study", "launch", "proposal.json", *answers)
        return self.folder / "aggregator" / "studies" / launched["digest"].removeprefix("sha256:")

    def finish(self, study: Path) -> None:
        """Wait until the study has run to its end.

        Args:
            study: What :meth:`launch` returned.

        Raises:
            StudyError: If it ends in another way than finished, or not in time.
        """
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.lead.ask("study", "status", f"sha256:{study.name}"))
            return found["outcome"] is not None

        wait_for("the study to end (see the logs)", is_over, seconds=_STUDY_SECONDS, alive=self._can_go_on)
        if found["outcome"]["ending"] != "finished":
            raise StudyError(f"expected the study to finish, it ended so: {found['outcome']}")

    def _can_go_on(self) -> bool:
        """Whether the host and at least one site run: none may be started again by itself."""
        return self.host.runs and any(terminal.runs for terminal in self.sites.values())
