"""A network of its own for each party of a rehearsal, and a wall between them: Linux network namespaces on one machine.

::

    site 1 --- eth0 / site1 --+
    site 2 --- eth0 / site2 --+-- wall -- gate / eth0 --- aggregator's host
    site 3 --- eth0 / site3 --+

Every line is a virtual cable with a subnet of its own. The wall is a router with the rules of the hospitals' firewalls: what comes
from a site passes if it is TCP to the gate's address and port, what comes from the gate if it belongs to a connection that a site
opened. Nothing else passes, and the machine's own network has no cable to any of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Final, Self

from federation.errors import ConfigurationError, StudyError

PORT: Final = 8443
"""Of the gate, in a network where nothing else has it."""
_NETWORK: Final = "10.231"
_MOST_SITES: Final = 200
_TOOLS: Final = ("ip", "iptables", "ss", "unshare")
_WALL: Final = "wall"
_HOST: Final = "host"
NO_NETWORK: Final = ("unshare", "--net", "--")
"""A command prefix: a machine without any network, as the authority's is."""


@dataclass
class Networks:
    """Made when entered, removed when left, with everything that is in them.

    Args:
        sites: One network each.
        name: Prefix of the namespaces' names, unique on this machine.
    """

    sites: tuple[str, ...]
    name: str = field(default_factory=lambda: f"cohortium-{os.getpid()}")

    @property
    def gate(self) -> str:
        """Address of the gate, without its port."""
        return f"{_NETWORK}.0.2"

    def address(self, site: str) -> str:
        """Of a site, as the wall sees it."""
        return f"{_NETWORK}.{self._number(site)}.2"

    def namespace(self, party: str) -> str:
        """Name of the namespace of a site."""
        return f"{self.name}-{party}"

    @property
    def host(self) -> tuple[str, ...]:
        """Prefix of a command that runs at the aggregator's host."""
        return self._inside(_HOST)

    def site(self, site: str) -> tuple[str, ...]:
        """Prefix of a command that runs at a site."""
        self._number(site)
        return self._inside(site)

    def __enter__(self) -> Self:
        check_usable()
        try:
            self._make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _make(self) -> None:
        self._namespace(_WALL)
        self._cable(_HOST, wall_end="gate", number=0)
        for site in self.sites:
            self._cable(site, wall_end=f"site{self._number(site)}", number=self._number(site))
        _run(*self._inside(_WALL), "tee", "/proc/sys/net/ipv4/ip_forward", text="1")

    def _namespace(self, party: str) -> None:
        _run("ip", "netns", "add", self.namespace(party))
        with contextlib.suppress(StudyError):  # a kernel without version 6 has nothing to switch off
            _run(*self._inside(party), "tee", "/proc/sys/net/ipv6/conf/all/disable_ipv6", text="1")
        self._ip(party, "link", "set", "lo", "up")

    def _cable(self, party: str, *, wall_end: str, number: int) -> None:
        """From a party's new namespace to the wall; whatever the party does not know goes there."""
        self._namespace(party)
        self._ip(
            _WALL,
            "link",
            "add",
            "name",
            wall_end,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.namespace(party),
        )
        for place, device, last in ((_WALL, wall_end, 1), (party, "eth0", 2)):
            self._ip(place, "address", "add", f"{_NETWORK}.{number}.{last}/30", "dev", device)
            self._ip(place, "link", "set", device, "up")
        self._ip(party, "route", "add", "default", "via", f"{_NETWORK}.{number}.1")

    def close_wall(self) -> None:
        """Put the rules in force. Before this, the wall forwards everything: that shows that the rules are what stops it."""
        for chain in ("INPUT", "OUTPUT", "FORWARD"):
            self._rule("-P", chain, "DROP")
        for site in self.sites:
            cable, address = f"site{self._number(site)}", self.address(site)
            self._rule("-A", "FORWARD", "-i", cable, "-o", "gate", "-s", address, *self._to_gate(), "-j", "ACCEPT")
            self._rule("-A", "FORWARD", "-i", "gate", "-o", cable, "-d", address, *self._from_gate(), "-j", "ACCEPT")

    def _to_gate(self) -> tuple[str, ...]:
        return ("-p", "tcp", "-d", self.gate, "--dport", str(PORT))

    def _from_gate(self) -> tuple[str, ...]:
        """Never the first packet of a connection: the gate opens none."""
        return ("-p", "tcp", "-s", self.gate, "--sport", str(PORT), "!", "--syn")

    def cut(self, site: str) -> None:
        """Pull a site's cable out at the wall."""
        self._ip(_WALL, "link", "set", f"site{self._number(site)}", "down")

    def heal(self, site: str) -> None:
        """Put it in again."""
        self._ip(_WALL, "link", "set", f"site{self._number(site)}", "up")

    def remove(self) -> None:
        """Remove the namespaces that are there; their cables and rules go with them."""
        for party in (_WALL, _HOST, *self.sites):
            with contextlib.suppress(StudyError):
                _run("ip", "netns", "delete", self.namespace(party))

    def _number(self, site: str) -> int:
        return self.sites.index(site) + 1

    def _inside(self, party: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.namespace(party))

    def _ip(self, party: str, *words: str) -> None:
        _run("ip", "-n", self.namespace(party), *words)

    def _rule(self, *words: str) -> None:
        _run(*self._inside(_WALL), "iptables", "-w", *words)


def problem_here() -> str:
    """Why namespaces cannot be used on this machine; empty if they can."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    if os.geteuid() != 0:
        return "not root"
    probe = f"cohortium-probe-{os.getpid()}"
    inside = ("ip", "netns", "exec", probe)
    try:
        _run("ip", "netns", "add", probe)
        _run("ip", "-n", probe, "link", "add", "name", "one", "type", "veth", "peer", "name", "two")
        _run(*inside, "iptables", "-w", "-A", "FORWARD", "-p", "tcp", "!", "--syn", "-j", "ACCEPT")
    except StudyError as failure:
        return failure.message
    finally:
        with contextlib.suppress(StudyError):
            _run("ip", "netns", "delete", probe)
    return ""


def check_usable() -> None:
    """Refuse where namespaces cannot be used.

    Raises:
        ConfigurationError: With the reason.
    """
    problem = problem_here()
    if problem:
        raise ConfigurationError(
            f"expected to make network namespaces here, got: {problem}",
            remedy="run as root on Linux with iproute2, iptables and util-linux, or leave --namespaces away",
        )


def _run(*words: str, text: str = "") -> None:
    """One command of the system.

    Raises:
        StudyError: If it fails; the message holds what it said.
    """
    found = subprocess.run(words, input=text, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    if found.returncode != 0:
        said = (found.stderr or found.stdout).strip()[-500:]
        raise StudyError(f"expected `{' '.join(words)}` to succeed, it ended with {found.returncode}: {said}")
