"""What the containers of a running consortium are allowed, what they see of one another, and how they end."""

from __future__ import annotations

import time
from typing import Final

from deploy.container_test.checks import Checks
from deploy.container_test.compose import Project
from deploy.container_test.consortium import Consortium
from deploy.container_test.engine import CONFINED
from deploy.container_test.image_checks import UIDS

_LONGEST_STOP: Final = 25.0
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
_CALL: Final = """
import socket
try:
    socket.create_connection(("{address}", {port}), timeout=3).close()
    print("connected")
except OSError as failure:
    print(type(failure).__name__)
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
    """Look at all three containers while they run."""
    site, aggregator = consortium.site, consortium.aggregator
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
    for project, service in (
        (consortium.site, "gateway"),
        (consortium.site, "agent"),
        (consortium.aggregator, "aggregator"),
    ):
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
    site, engine = consortium.site, consortium.engine
    networks = site.python("agent", "import socket; print([name for _, name in socket.if_nameindex()])")
    checks.equal("agent: sees loopback only", networks.out.strip(), "['lo']")
    healthy = engine.podman("exec", site.container("agent"), *_HEALTHY_AGENT, check=False)
    checks.equal("agent: its health check passes", healthy.code, 0)
    answer = site.python("gateway", _ASK, check=False)
    checks.equal("agent: answers the gateway, with a refusal to what nobody signed", answer.out.strip(), "Refusal")
    other = site.python("agent", _ASK.replace("patience_seconds=5.0", "patience_seconds=0.5"), check=False)
    checks.that("agent: answers nobody else, itself included", other.code != 0, found=other.text)
    seen = site.python("gateway", _READ).out.strip()
    checks.equal("gateway: sees its folder and the socket's, and no record", seen, "['gateway', 'run'] []")
    checks.equal("gateway: writes neither there nor elsewhere", site.python("gateway", _WRITE).out.split(), [])
    checks.equal(
        "agent: writes in the site's folder, not beside it and not to the records",
        site.python("agent", _WRITE).out.split(),
        ["/var/lib/cohortium/site/run", "/var/lib/cohortium/site/gateway"],
    )
    for folder in ("run", "gateway"):
        (consortium.folder / "site" / folder / "written").unlink(missing_ok=True)
    stranger = engine.run(
        consortium.images["gateway"], "-c", _ASK.replace("patience_seconds=5.0", "patience_seconds=0.5"),
        flags=(*CONFINED, "--user", "10009:10009", "--volume", f"{consortium.folder}/site/run:/var/lib/cohortium/site/run:ro"),
        entrypoint="/opt/cohortium/bin/python", check=False,
    )  # fmt: skip
    checks.that("agent: another account does not reach its socket", stranger.code != 0, found=stranger.text)


def _between_site_and_gate(consortium: Consortium, checks: Checks) -> None:
    address = consortium.aggregator.details("aggregator")["NetworkSettings"]["Networks"]
    inner = next(iter(address.values()))["IPAddress"]
    reached = {
        port: consortium.site.python("gateway", _CALL.format(address=inner, port=port)).out.strip()
        for port in (9440, 9441, 9442, 9443)
    }
    checks.that(
        "aggregator: SuperLink, MLflow and health pages are reached by nobody outside it",
        "connected" not in reached.values(),
        found=reached,
    )
    seen = consortium.aggregator.once("aggregator", "aggregator", "install", "/letters/members.json")
    checks.equal("aggregator: knows the site", seen.get("sites"), ["st_mary"])
