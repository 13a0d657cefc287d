"""What the containers of a running consortium are allowed, what they see of one another, and how they end."""

from __future__ import annotations

import json
import time
from typing import Final

from deploy.container_test.checks import Checks
from deploy.container_test.compose import Project
from deploy.container_test.consortium import GATE, LETTERS, PORT, SITES, Consortium
from deploy.container_test.engine import CONFINED
from deploy.container_test.image_checks import UIDS

_LONGEST_STOP: Final = 25.0
_PORTS: Final = (9440, 9441, 9442, 9443)
"""Of the aggregator's loopback."""
_OUTSIDE: Final = "192.0.2.1"
"""An address that is nobody's (RFC 5737): there is no way out to it."""
_SOCKET: Final = "/var/lib/cohortium/site/run/agent.sock"
_HEALTHY_AGENT: Final = ("grep", "-q", " 00010000 .*/run/agent.sock$", "/proc/net/unix")
"""The HEALTHCHECK of the agent's image; podman runs it only where there is systemd."""
_ASK: Final = f"""
from pathlib import Path
from site_client.gateway.agent_client import AgentClient
from federation.protocol.messages import read_envelope
reply = AgentClient(Path("{_SOCKET}"), patience_seconds=5.0).handle(b"no coordinator signed this")
print(type(read_envelope(reply).header).__name__)
"""
_INTRUDE: Final = f"""
import socket
from site_client.frames import send_frame
try:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(20)
        wire.connect("{_SOCKET}")
        send_frame(wire, b"let me in")
        print("answered" if wire.recv(1) else "shown out")
except ConnectionError:
    print("shown out")
except PermissionError:
    print("not let near")
"""
_CALL: Final = """
import errno, json, socket, sys
found = {}
for address, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((address, port), timeout=3).close()
        found[f"{address}:{port}"] = "connected"
    except OSError as failure:
        found[f"{address}:{port}"] = errno.errorcode.get(failure.errno, type(failure).__name__)
print(json.dumps(found))
"""
_READ: Final = """
from pathlib import Path
found = []
for path in ("/var/lib/cohortium/site/identity.key", "/var/lib/cohortium/site/site.json", "/records", "/letters"):
    try:
        found.append(path) if Path(path).exists() else None
    except OSError:
        pass
print(sorted(path.name for path in Path("/var/lib/cohortium/site").iterdir()), found)
"""
_WRITE: Final = """
from pathlib import Path
for folder in ("/", "/opt/cohortium", "/etc", "/records", "/var/lib/cohortium/site/run", "/var/lib/cohortium/site/gateway"):
    try:
        (Path(folder) / "written").touch()
        print(folder)
    except OSError:
        pass
"""


def check_running(consortium: Consortium, checks: Checks) -> None:
    """Look at the containers of the first site and of the aggregator while they run."""
    site, aggregator = consortium.sites[SITES[0]], consortium.aggregator
    for project, service in ((site, "agent"), (site, "gateway"), (aggregator, "aggregator")):
        _restrictions(project, service, checks)
    checks.equal("agent: has no network", site.details("agent")["HostConfig"]["NetworkMode"], "none")
    for service in ("agent", "gateway"):
        ports = [name for name, where in site.details(service)["NetworkSettings"]["Ports"].items() if where]
        checks.equal(f"{service}: no port is open", ports, [])
    ports = [name for name, where in aggregator.details("aggregator")["NetworkSettings"]["Ports"].items() if where]
    checks.equal("aggregator: the gate's port is open, and no other", ports, ["8443/tcp"])
    _between_agent_and_gateway(consortium, checks)
    _between_site_and_gate(consortium, checks)


def check_end(consortium: Consortium, checks: Checks) -> None:
    """Stop everything in order, and see that each leaves by itself in time."""
    site = consortium.sites[SITES[0]]
    for project, service in ((site, "gateway"), (site, "agent"), (consortium.aggregator, "aggregator")):
        begin = time.monotonic()
        consortium.engine.podman("stop", "--time", "60", project.container(service))
        seconds = time.monotonic() - begin
        code = project.details(service)["State"]["ExitCode"]
        checks.that(
            f"{service}: ends when it is told, in {seconds:.0f} s", seconds < _LONGEST_STOP, found=project.logs(service)
        )
        checks.that(f"{service}: was not killed (exit code {code})", code != 137)  # noqa: PLR2004 - 128 + SIGKILL


def _restrictions(project: Project, service: str, checks: Checks) -> None:
    details = project.details(service)
    settings = details["HostConfig"]
    checks.that(f"{service}: its root is read-only", settings["ReadonlyRootfs"])
    checks.equal(f"{service}: user", details["Config"]["User"], f"{UIDS[service]}:{UIDS[service]}")
    checks.equal(f"{service}: capabilities", (details["EffectiveCaps"] or [], details["BoundingCaps"] or []), ([], []))
    checks.that(
        f"{service}: no new privileges",
        "no-new-privileges" in str(settings["SecurityOpt"]),
        found=settings["SecurityOpt"],
    )
    checks.that(f"{service}: is not privileged", not settings["Privileged"])
    status = project.python(service, "print(open('/proc/1/status').read())").out
    lines = {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines() if ":" in line}
    checks.equal(
        f"{service}: the kernel says so too",
        (lines["Uid"][0], lines["CapEff"], lines["CapBnd"], lines["NoNewPrivs"]),
        (str(UIDS[service]), ["0" * 16], ["0" * 16], ["1"]),
    )


def _between_agent_and_gateway(consortium: Consortium, checks: Checks) -> None:
    site, engine = consortium.sites[SITES[0]], consortium.engine
    home = consortium.home(SITES[0])
    networks = site.python("agent", "import socket; print([name for _, name in socket.if_nameindex()])")
    checks.equal("agent: sees loopback only", networks.out.strip(), "['lo']")
    healthy = engine.podman("exec", site.container("agent"), *_HEALTHY_AGENT, check=False)
    checks.equal("agent: its health check passes", healthy.code, 0)
    answer = site.python("gateway", _ASK, check=False)
    checks.equal("agent: answers the gateway, with a refusal to what nobody signed", answer.out.strip(), "Refusal")
    itself = site.python("agent", _INTRUDE, check=False)
    checks.equal("agent: answers nobody else, its own account included", itself.out.strip(), "shown out")
    seen = site.python("gateway", _READ).out.strip()
    checks.equal("gateway: sees its folder and the socket's, and no record", seen, "['gateway', 'run'] []")
    checks.equal("gateway: writes neither there nor elsewhere", site.python("gateway", _WRITE).out.split(), [])
    checks.equal(
        "agent: writes in the site's folder, not beside it and not to the records",
        site.python("agent", _WRITE).out.split(),
        ["/var/lib/cohortium/site/run", "/var/lib/cohortium/site/gateway"],
    )
    for folder in ("run", "gateway"):
        (home / folder / "written").unlink(missing_ok=True)
    mounted = ("--volume", f"{home}/run:/var/lib/cohortium/site/run:ro")
    for user, group, outcome in ((10009, 10009, "not let near"), (10009, UIDS["gateway"], "shown out")):
        flags = (*CONFINED, "--user", f"{user}:{group}", *mounted)
        stranger = engine.python(consortium.images["gateway"], _INTRUDE, flags=flags, check=False)
        checks.equal(f"agent: user {user} of group {group} is {outcome}", stranger.out.strip(), outcome)


def _between_site_and_gate(consortium: Consortium, checks: Checks) -> None:
    inner = _address(consortium.aggregator, "aggregator")
    gate = f"{GATE}:{PORT}"
    others = [_address(consortium.sites[site], "gateway") for site in SITES[1:]]
    far = [(inner, PORT), *((address, PORT) for address in others), (_OUTSIDE, 443)]
    asked = json.dumps([(GATE, PORT), *((GATE, port) for port in _PORTS), *far])
    reached = json.loads(consortium.sites[SITES[0]].python("gateway", _CALL, asked).out)
    checks.equal("aggregator: the gate is reached from the gateway's container", reached.pop(gate), "connected")
    checks.that(
        "aggregator: SuperLink, MLflow and health pages are not", "connected" not in reached.values(), found=reached
    )
    beyond = {reached[f"{address}:{port}"] for address, port in far}
    checks.equal("gateway: has no way to other sites, nor anywhere else", beyond, {"ENETUNREACH"})
    seen = consortium.aggregator.once("aggregator", "aggregator", "install", f"{LETTERS}/members.json")
    checks.equal("aggregator: knows the sites", sorted(seen.get("sites", [])), sorted(SITES))


def _address(project: Project, service: str) -> str:
    networks = project.details(service)["NetworkSettings"]["Networks"]
    return next(iter(networks.values()))["IPAddress"]
