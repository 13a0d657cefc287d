"""What happens to hospitals in the middle of a round: a machine dies, a cable is pulled out. And what is open meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.host.study_status import StudyStatus, read_status
from conf.processes.supervisor import PROCESSES_FILE
from experiments.rehearsal.consortium import Rehearsal
from experiments.rehearsal.networks import PORT, Networks
from experiments.rehearsal.reach import OTHER_PORT, expect, look_inside, open_to_others, peers, reachable
from experiments.rehearsal.terminal import wait_for
from federation.errors import StudyError
from site_client.accounts import logs_folder
from site_client.home_paths import SiteLayout
from site_client.running import running_process
from site_client.site_processes import AGENT, GATEWAY

_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.02
_CUT_SECONDS: Final = 8.0
SUPERVISOR: Final = "supervisor"


@dataclass(frozen=True)
class Troubles:
    """Of a rehearsal in networks of its own, while its study runs.

    Args:
        rehearsal: Its processes run.
        networks: Of the parties; the wall is closed.
        study: The study's folder at the aggregator's host.
    """

    rehearsal: Rehearsal
    networks: Networks
    study: Path

    def run(self) -> None:
        """One site dies in the middle of a round, another loses its cable in a later one; the study goes on after both.

        Raises:
            StudyError: If something is open that should not be, or the study does not go on.
        """
        dies, loses, *_ = self.rehearsal.sites
        self._wait_for("the first round", lambda status: status.rounds_complete >= 1)
        self._kill(dies)
        self._cut(loses)
        self._check_closed(tuple(self.rehearsal.sites))
        gate = f"{self.networks.gate}:{PORT}"
        self._say(f"nothing listens at a site, a site reaches {gate} and nothing else, an agent has no network")

    def _kill(self, site: str) -> None:
        """Everything of the site gets SIGKILL while it is asked; later its machine comes back."""
        self._wait_for(f"a request to {site}", lambda status: site in status.asked)
        numbers = site_processes(self.rehearsal, site)
        for number in numbers.values():
            os.kill(number, signal.SIGKILL)
        self._wait_for(f"the study to wait for {site} alone", lambda status: status.asked == (site,))
        done = self._status().rounds_complete
        self._say(f"killed in round {done + 1}: {', '.join(numbers)} of {site}; the study waits for it")
        self.rehearsal.start_site(site)
        self._wait_for("the round to be done", lambda status: status.rounds_complete > done)
        expect(f"sites missing after {site} came back", self._status().missing, {})
        self._say(f"{site} is back, and round {done + 1} is done with it: nobody is missing")

    def _cut(self, site: str) -> None:
        self._wait_for(f"a request to {site}", lambda status: site in status.asked)
        self.networks.cut(site)
        expect(f"{site} reaches with its link cut", self._reached(self.networks.site(site)), set())
        self._wait_for(f"the study to wait for {site} alone", lambda status: status.asked == (site,))
        done = self._status().rounds_complete
        self._check_closed(tuple(other for other in self.rehearsal.sites if other != site))
        time.sleep(_CUT_SECONDS)
        status = self._status()
        expect("while a link is cut the study waits for", (status.asked, status.rounds_complete), ((site,), done))
        self.networks.heal(site)
        self._wait_for("the round to be done", lambda status: status.rounds_complete > done)
        self._say(f"the link of {site} was cut in round {done + 1} and healed; the round is done with it")

    def _check_closed(self, sites: tuple[str, ...]) -> None:
        """What listens, and what can be reached, at some sites and at the aggregator's host."""
        gate = f"{self.networks.gate}:{PORT}"
        for site in sites:
            inside, numbers = self.networks.site(site), site_processes(self.rehearsal, site)
            expect(f"{site} listens on", open_to_others(inside), [])
            expect(f"{site} reaches", self._reached(inside), {gate})
            expect(f"{site} is connected with others than the gate", peers(inside) - {gate}, set())
            agent = ("nsenter", f"--net=/proc/{numbers[AGENT]}/ns/net")
            expect(
                f"what is up in the network of {site}'s agent", look_inside(agent, "ip", "-o", "link", "show", "up"), ""
            )
            expect(f"the agent of {site} reaches", self._reached(agent), set())
            own, outer = (Path(f"/proc/{numbers[name]}/ns/net").readlink() for name in (GATEWAY, SUPERVISOR))
            expect(f"network of the gateway of {site}", own, outer)
        expect("the aggregator's host listens on", open_to_others(self.networks.host), [f"tcp {gate}"])
        expect(
            "the aggregator's host reaches of the sites", self._reached(self.networks.host) & self._at_sites(), set()
        )

    def _reached(self, prefix: tuple[str, ...]) -> set[str]:
        """Of the gate, the host's other ports, and the ports that gateways have on loopback, at every site's address."""
        home = json.loads((self.study.parents[1] / "aggregator.json").read_text())
        ports = (PORT, OTHER_PORT, *(home[name] for name in ("superlink_port", "mlflow_port", "health_port")))
        return reachable(prefix, {f"{self.networks.gate}:{port}" for port in ports} | self._at_sites())

    def _at_sites(self) -> set[str]:
        ports = {OTHER_PORT, *self._runtime_ports()}
        return {f"{self.networks.address(site)}:{port}" for site in self.rehearsal.sites for port in ports}

    def _runtime_ports(self) -> set[int]:
        """Where gateways listen on loopback."""
        found: set[int] = set()
        for site in self.rehearsal.sites:
            lines = look_inside(self.networks.site(site), "ss", "-H", "-l", "-n", "-t").splitlines()
            found |= {int(line.split()[3].rpartition(":")[2]) for line in lines}
        return found

    def _status(self) -> StudyStatus:
        status = read_status(self.study / "status.json")
        if status is None:
            raise StudyError("expected a study that runs, it has no status")
        return status

    def _wait_for(self, what: str, holds: Callable[[StudyStatus], bool]) -> None:
        def is_so() -> bool:
            status = read_status(self.study / "status.json")
            return status is not None and holds(status)

        def may_be_so() -> bool:
            return not (self.study / "outcome.json").exists()

        wait_for(f"{what} before the study ends", is_so, seconds=_SECONDS, alive=may_be_so, every=_LOOK_SECONDS)

    def _say(self, line: str) -> None:
        self.rehearsal.console.print(f"checked: {line}")


def site_processes(rehearsal: Rehearsal, site: str) -> dict[str, int]:
    """Numbers of a site's processes by name; those that run under its supervisor, and the supervisor.

    Raises:
        StudyError: If the site does not run.
    """
    layout = SiteLayout(rehearsal.sites_home(site))
    supervisor = running_process(layout)
    if supervisor is None:
        raise StudyError(f"expected {site} to run, it does not")
    return {SUPERVISOR: supervisor} | json.loads((logs_folder(layout) / PROCESSES_FILE).read_text())
