"""A consortium on this machine as a deployment has it: an aggregator's host behind its gate, and sites with agent and gateway."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from aggregator.authority.member_lists import signed_members, signed_revocations
from aggregator.host.enrolment import install_admission, install_members, install_revocations
from aggregator.host.home import AggregatorHome
from aggregator.host.launching import launch
from aggregator.host.preparing import prepare_home
from aggregator.host.study_outcome import read_outcome
from federation.governance.proposals import Approval, Proposal, SignedApproval, SignedProposal
from federation.protocol.signatures import SigningKey
from site_client.accepted_code import accept_code
from site_client.accounts import logs_folder
from site_client.home_paths import SiteLayout
from site_client.keystore import identity_key
from site_client.study_papers import StudyPapers
from tests.site_client.hospital_site import LEAD, POLICY, write_mapping, write_records
from tests.small_consortium import SmallConsortium
from tests.small_study import SITES, manifest

SEED = 7


def now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


def free_ports(number: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Deployment:
    """Everything from enrolment to approval, by the functions behind the commands; then processes, by the commands."""

    def __init__(self, folder: Path, *, sites: tuple[str, ...] = SITES) -> None:
        self.folder = folder
        gate, superlink, mlflow, health, gate_health = free_ports(5)
        self.made = SmallConsortium(folder, certify=False, now=now() - dt.timedelta(minutes=5))
        home = AggregatorHome(
            consortium="cardio",
            gate=f"localhost:{gate}",
            listen=f"127.0.0.1:{gate}",
            superlink_port=superlink,
            mlflow_port=mlflow,
            health_port=health,
            gate_health_port=gate_health,
            tracking=False,
        )
        prepare_home(self.made.host, home)
        admission = self.made.certify(gate=home.gate, names=("localhost",))
        self.made.now = now()
        heard = self.made.office.authority.fingerprint
        install_admission(self.made.host, admission, heard=heard, now=now())
        self.sites = {name: self._enrolled(name) for name in sites}
        self.publish()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def publish(self) -> None:
        """The authority's lists reach the host."""
        install_members(self.made.host, signed_members(self.made.office, self.made.keys))
        install_revocations(self.made.host, signed_revocations(self.made.office, self.made.keys))

    def _enrolled(self, name: str) -> SiteLayout:
        self.made.enrol(name)
        layout = self.made.site(name)
        layout.policy.write_text(POLICY.format(lead=f"'{LEAD.public_key}'"))
        records = layout.folder / "records"
        records.mkdir()
        write_records(records / "records.csv", patients=60 + 10 * len(name), name=name)
        write_mapping(records, site=name)
        layout.mapping.write_text("mapping: records/mapping.yaml\n")
        accept_code(layout, clock=now, thorough=False)
        return layout

    def proposed(self, **changes: object) -> SignedProposal:
        roster = [
            {
                "site": name,
                "weight": 10.0 * (number + 1),
                "training_patients": 40,
                "public_key": identity_key(layout).public_key,
            }
            for number, (name, layout) in enumerate(self.sites.items())
        ]
        coordinator = SigningKey.from_bytes(self.made.host.coordinator_key.read_bytes()).public_key
        data = {
            "manifest": manifest(roster=roster, **changes).as_data(),
            "lead": LEAD.public_key,
            "coordinator": coordinator,
            "approvals_needed": 1,
            "test_seed": SEED,
        }
        return SignedProposal.signed(Proposal.from_data(data), LEAD)

    def approve(self, signed: SignedProposal, *sites: str) -> list[SignedApproval]:
        """The sites approve, and the decisions reach all of them."""
        made = []
        for name in sites or tuple(self.sites):
            approval = Approval(
                proposal=signed.proposal.digest, site=name, decision="approve", officer="Dr. Test", time=now()
            )
            made.append(SignedApproval.signed(approval, identity_key(self.sites[name])))
        for name, layout in self.sites.items():
            StudyPapers(layout).keep_proposal(signed)
            for decision in made:
                path = layout.approval(signed.proposal.digest)
                if decision.approval.site != name:
                    path = path.with_suffix("") / f"{decision.approval.site}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(decision.model_dump_json())
        return made

    def launch(self, signed: SignedProposal, approvals: list[SignedApproval]):
        (self.folder / "proposal.json").write_text(signed.model_dump_json())
        paths = []
        for decision in approvals:
            paths.append(self.folder / f"{decision.approval.site}.approval.json")
            paths[-1].write_text(decision.model_dump_json())
        return launch(self.made.host, self.folder / "proposal.json", paths, now=now())

    def start_host(self) -> None:
        code = "from aggregator.host.commands import app; app()"
        self._start("host", ["-c", code, "start", "--home", str(self.made.host.folder)])

    def start_site(self, name: str, *more: str) -> None:
        one_user = ["--one-user"] if os.getuid() == 0 else []
        words = ["site", "start", "--home", str(self.sites[name].folder), *one_user, *more]
        self._start(name, ["-m", "experiments.main", *words])

    def _start(self, name: str, words: list[str]) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *words], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )

    def check_alive(self) -> None:
        dead = {name: process.returncode for name, process in self.processes.items() if process.poll() is not None}
        assert not dead, f"{dead}\n{self.logs()}"

    def wait_for_outcome(self, place, *, seconds: float):
        end = time.monotonic() + seconds
        while True:
            outcome = read_outcome(place)
            if outcome is not None:
                return outcome
            self.check_alive()
            assert time.monotonic() < end, self.logs()
            time.sleep(0.2)

    def pids(self, name: str) -> dict[str, int]:
        return json.loads((logs_folder(self.sites[name]) / "processes.json").read_text())

    def logs(self) -> str:
        """The end of every log, for a person who looks at a failure."""
        paths = [*self.folder.rglob("*.log"), *self.folder.glob("*.out")]
        return "\n".join(f"== {path.name} of {path.parent.parent.name}\n{path.read_text()[-1500:]}" for path in paths)

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
