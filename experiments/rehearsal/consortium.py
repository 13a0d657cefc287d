"""A consortium of three hospitals, from an empty folder to a released model, in the steps of the guides.

Everybody has a terminal and a folder of their own, and whatever one gives to another is a file that is copied: as it would be by
e-mail. Nothing here knows more than the guides say.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console

from experiments.rehearsal.records import RehearsedRecords
from experiments.rehearsal.terminal import Terminal, wait_for

DESKS: Final = "desks"
"""Everybody's files, in the folder of a rehearsal."""
_SEED: Final = 7
_START_SECONDS: Final = 180.0
_STUDY_SECONDS: Final = 900.0
_POLICY: Final = {
    "allowed_provenance": ["patients", "public", "synthetic"],
    "allow_test_seed": True,
    "epsilon_cap_per_study": 8.0,
    "allowed_aggregation": ["masked"],
}
"""What these hospitals change in the example policy: the rehearsal's records are not of patients."""
_ACCOUNTS: Final = ("daemon", "nobody")
"""Two accounts that every Linux has, for agent and gateway; used when the rehearsal is run by root."""


@dataclass
class Rehearsal:
    """The people, their terminals, and the steps.

    Args:
        folder: Empty.
        records: Of the hospitals.
        rounds: Of the study.
        console: Where commands are shown.
    """

    folder: Path
    records: RehearsedRecords
    rounds: int
    console: Console
    officer: Terminal = field(init=False)
    host: Terminal = field(init=False)
    lead: Terminal = field(init=False)
    sites: dict[str, Terminal] = field(init=False)

    def __post_init__(self) -> None:
        self.officer = self._terminal("officer", "COHORTIUM_AUTHORITY")
        self.host = self._terminal("aggregator host", "COHORTIUM_AGGREGATOR", "aggregator")
        self.lead = self._terminal("study lead", "COHORTIUM_AGGREGATOR", "aggregator")
        self.sites = {site: self._terminal(f"site {site}", "COHORTIUM_SITE", site) for site in self.records.mappings}

    def _terminal(self, who: str, variable: str, home: str = "authority") -> Terminal:
        desk = self.folder / DESKS / who.replace(" ", "_")
        desk.mkdir(parents=True)
        return Terminal(who, desk, {variable: str(self.folder / home)}, self.console)

    def close(self) -> None:
        """End every process that was started."""
        for terminal in (*self.sites.values(), self.host):
            terminal.close()

    def _send(self, giver: Terminal, name: str, taker: Terminal) -> None:
        shutil.copy(giver.folder / name, taker.folder / name)

    def found(self) -> None:
        """The authority, the aggregator's host, and its certificate."""
        self._authority = self.officer.ask("consortium", "init", "rehearsal")["read_out"]
        port, first = _free_port(), _free_ports(4)
        self.host.run(
            "aggregator", "init", "--consortium", "rehearsal", "--gate", f"localhost:{port}",
            "--listen", f"127.0.0.1:{port}", "--first-port", str(first),
        )  # fmt: skip
        shown = self.host.ask("aggregator", "request", "--output", "aggregator-request.json")["read_out"]
        self._send(self.host, "aggregator-request.json", self.officer)
        self.officer.run(
            "consortium", "certify-aggregator", "aggregator-request.json", "--name", "localhost",
            "--gate", f"localhost:{port}", "--fingerprint", shown, "--output", "aggregator-admission.json",
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

    def connect(self) -> None:
        """The host and every site start their processes, which find each other."""
        running = self.host.start("aggregator", "start", log=self.folder / "aggregator.log")
        wait_for(
            "the aggregator's host to be up (see aggregator.log)",
            lambda: not self.host.ask("aggregator", "status", allowed=(0, 51)).get("problems", ["unknown"]),
            seconds=_START_SECONDS,
            alive=lambda: running.poll() is None,
        )
        for site, terminal in self.sites.items():
            terminal.run("site", "data", "check", "--manifest", self._sealed(terminal), "--mapping",
                         str(self.records.mappings[site]))  # fmt: skip
            terminal.start("site", "start", *_accounts(), log=self.folder / f"{site}.log")

    def _sealed(self, terminal: Terminal) -> str:
        self.lead.run("study", "seal", "study.yaml", "-o", "sealed.json")
        self._send(self.lead, "sealed.json", terminal)
        return "sealed.json"

    def launch(self) -> Mapping[str, Any]:
        """The study runs to its end.

        Returns:
            How it ended, as ``study status --json`` says.
        """
        answers = [f"approve-{site}.json" for site in self.sites]
        launched = self.lead.ask("study", "launch", "proposal.json", *answers)
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.lead.ask("study", "status", launched["digest"]))
            return found["outcome"] is not None

        wait_for("the study to end (see aggregator.log)", is_over, seconds=_STUDY_SECONDS, alive=lambda: True)
        return found


def _accounts() -> tuple[str, ...]:
    """Two accounts where there are two: only root may start processes as somebody else."""
    if os.geteuid() != 0:
        return ()
    known = {entry.pw_name for entry in pwd.getpwall()}
    agent, gateway = _ACCOUNTS
    if not {agent, gateway} <= known:
        return ("--one-user",)
    return ("--agent-user", agent, "--gateway-user", gateway)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free_ports(number: int) -> int:
    """The first of as many free ports in a row."""
    while True:
        first = _free_port()
        if first + number > 65_000:  # noqa: PLR2004 - the end of the range
            continue
        try:
            for port in range(first, first + number):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
