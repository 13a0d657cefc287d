"""What can be reached from where, and what listens: asked of the system, from inside each network of a rehearsal."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Final

from experiments.rehearsal.networks import PORT, Networks
from federation.errors import StudyError

OTHER_PORT: Final = 8444
"""At the gate's address, and at every site: where a probe listens and nothing of a site's may connect."""
_SECONDS: Final = 2.0
_LISTEN: Final = """
import socket, sys
listeners = [socket.create_server(("0.0.0.0", int(port))) for port in sys.argv[1:]]
print("listening", flush=True)
sys.stdin.read()
"""
_CONNECT: Final = """
import concurrent.futures, socket, sys
def is_reached(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=float(sys.argv[1])).close()
    except OSError:
        return False
    return True
targets = sys.argv[2:]
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(*[target for target, reached in zip(targets, pool.map(is_reached, targets)) if reached])
"""


def reachable(prefix: tuple[str, ...], targets: Iterable[str]) -> set[str]:
    """Those of the addresses ``host:port`` to which a TCP connection can be opened from a network.

    Args:
        prefix: Of a command that runs in the network.
        targets: To try.
    """
    return set(look_inside(prefix, sys.executable, "-c", _CONNECT, str(_SECONDS), *targets).split())


@contextmanager
def listening(prefix: tuple[str, ...], *ports: int) -> Generator[None]:
    """Somebody listens on ports of every address of a network."""
    command = [*prefix, sys.executable, "-c", _LISTEN, *map(str, ports)]
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own words
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as listener:
        try:
            if listener.stdout is None or not listener.stdout.readline():
                raise StudyError(f"expected to listen on {ports} for a probe, they are taken")
            yield
        finally:
            if listener.stdin is not None:
                listener.stdin.close()


def open_to_others(prefix: tuple[str, ...]) -> list[str]:
    """What listens in a network on an address other than loopback: ``tcp 0.0.0.0:80``; UDP, too."""
    found: list[str] = []
    for line in look_inside(prefix, "ss", "-H", "-l", "-n", "-t", "-u").splitlines():
        kind, _, _, _, local = line.split()[:5]
        address = local.rpartition(":")[0].partition("%")[0].strip("[]")
        if address == "*" or not ipaddress.ip_address(address).is_loopback:
            found.append(f"{kind} {local}")
    return found


def peers(prefix: tuple[str, ...]) -> set[str]:
    """With whom a network has TCP connections that are open, loopback apart: ``host:port``."""
    lines = look_inside(prefix, "ss", "-H", "-n", "-t", "state", "established").splitlines()
    remote = {line.split()[3] for line in lines}
    return {entry for entry in remote if not ipaddress.ip_address(entry.rpartition(":")[0].strip("[]")).is_loopback}


def check_wall(networks: Networks) -> list[str]:
    """Try everything twice, without the rules and with them, and leave them in force. Nothing else may run in the networks.

    Returns:
        What was seen, a line each.

    Raises:
        StudyError: If anything passes that should not, or the other way round.
    """
    gate = f"{networks.gate}:{PORT}"
    everything = {
        gate,
        f"{networks.gate}:{OTHER_PORT}",
        *(f"{networks.address(s)}:{OTHER_PORT}" for s in networks.sites),
    }
    own = {site: f"{networks.address(site)}:{OTHER_PORT}" for site in networks.sites}
    with ExitStack() as stack:
        stack.enter_context(listening(networks.host, PORT, OTHER_PORT))
        for site in networks.sites:
            stack.enter_context(listening(networks.site(site), OTHER_PORT))
        for site in networks.sites:
            expect(f"{site} reaches without the wall's rules", reachable(networks.site(site), everything), everything)
        networks.close_wall()
        for site in networks.sites:
            expect(f"{site} reaches", reachable(networks.site(site), everything), {gate, own[site]})
        expect("the gate reaches of the sites", reachable(networks.host, own.values()), set())
    return [
        f"without the wall's rules every site reaches {len(everything) - 1} addresses of others",
        f"with them every site reaches {gate} and nothing else, not another site, not another port",
        "with them the gate's machine reaches no site",
    ]


def expect(what: str, found: object, expected: object) -> None:
    """Hold what was found against what should be.

    Raises:
        StudyError: If they differ.
    """
    if found != expected:
        raise StudyError(f"{what}: expected {expected}, got {found}")


def look_inside(prefix: tuple[str, ...], *words: str) -> str:
    """What a command says that runs in a network.

    Raises:
        StudyError: If it fails.
    """
    found = subprocess.run([*prefix, *words], capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    if found.returncode != 0:
        raise StudyError(f"expected `{words[0]}` to look into a network, it ended with {found.returncode}")
    return found.stdout
