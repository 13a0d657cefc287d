"""What `cohortium site doctor` looks at, by side: the agent has no network and the gateway has no records, each for good reason.

In a container of one side the other side's checks would fail although nothing is wrong. Which side this is can be told, or is
found out: where no network is up it is the agent's; where the gateway's folder can be read and the home's papers cannot, the
gateway's.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator

from federation.errors import CohortiumError, ConfigurationError, InvalidInputError
from site_client.home_paths import SiteLayout
from site_client.machine_checks import MachineCheck, MachineReport, Side, check_machine
from site_client.network_isolation import networks_up
from site_client.site_checks import (
    check_certificate_file,
    check_code_accepted,
    check_disk,
    check_keys,
    check_socket,
    failed,
    passed,
)


def detect_side(layout: SiteLayout) -> Side:
    """Which side this machine, account or container is.

    Args:
        layout: Of the site's home, as it is seen from here.
    """
    if not networks_up():
        return "agent"
    is_gateway = os.access(layout.gateway, os.R_OK) and not os.access(layout.site_file, os.R_OK)
    return "gateway" if is_gateway and layout.tls_certificate.is_file() else "both"


def check_site(
    layout: SiteLayout, *, side: Side, site: str | None, gate: str | None, proxy: str | None, now: dt.datetime
) -> MachineReport:
    """Look at everything that this side needs, and say what the other side's doctor looks at.

    Args:
        layout: Of the site's home.
        side: Whose checks are due.
        site: The gateway's own word for this site, where ``site.json`` is not to be seen.
        gate: The gateway's own word for the gate: ``host:port``.
        proxy: Address of an HTTP proxy, as the gateway would use it.
        now: The time of this machine.
    """
    if side == "agent":
        machine = check_machine(layout.folder, side=side)
        return MachineReport(checks=(*machine.checks, *_agent(layout, now)))
    if side == "gateway":
        machine = check_machine(layout.gateway / "state", side=side)
        found = _gateway(layout, site=site, gate=gate, proxy=proxy, now=now)
        return MachineReport(checks=(*machine.checks, *found))
    from site_client.network_checks import check_network

    machine = check_machine(layout.folder)
    return MachineReport(checks=(*machine.checks, *check_network(layout, proxy=proxy, now=now)))


def _agent(layout: SiteLayout, now: dt.datetime) -> Iterator[MachineCheck]:
    up = networks_up()
    yield passed(
        "network",
        f"up: {', '.join(up)}" if up else "none, as it should be",
        remedy="the agent needs none: see docs/site_processes.md for how to take it away" if up else "",
    )
    yield passed(
        "way to the gate",
        "not looked at: network checks belong to the gateway",
        remedy="there: `cohortium site doctor --side gateway`",
    )
    yield passed("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC here; the gateway compares it with the gate")
    try:
        home = layout.read()
    except CohortiumError as failure:
        yield failed("enrolment", "not enrolled", failure.remedy, failure)
        return
    yield passed("enrolment", f"{home.site} in {home.consortium}, gate {home.gate}")
    yield check_disk(layout.folder)
    yield from check_keys(layout, of=(layout.identity_key,))
    for path, remedy in (
        (layout.policy, "`cohortium site policy init`: without a policy nothing is approved"),
        (layout.ledger, "`cohortium site ledger create`: a private study of patients needs it"),
        (layout.mapping, "write it, and try it with `cohortium site data check`"),
    ):
        is_there = path.is_file()
        yield passed(path.name, "there" if is_there else "not there yet", remedy="" if is_there else remedy)
    yield check_code_accepted(layout)
    yield check_socket(layout)


def _gateway(
    layout: SiteLayout, *, site: str | None, gate: str | None, proxy: str | None, now: dt.datetime
) -> Iterator[MachineCheck]:
    from site_client.network_checks import check_way

    yield passed(
        "records, policy, ledger",
        "not looked at: the gateway must not see them",
        remedy="at the agent: `cohortium site doctor --side agent`",
    )
    try:
        site, gate = _place(layout, site=site, gate=gate)
    except CohortiumError as failure:
        yield failed("site and gate", "not known here", failure.remedy, failure)
        return
    yield passed("site and gate", f"{site}, gate {gate}")
    if os.access(layout.identity_key, os.R_OK):
        remedy = "give the gateway an account of its own, and only gateway/ and run/ of the home"
        yield failed("separation", "this process could read the site's identity key", remedy, ConfigurationError)
    else:
        yield passed("separation", "the site's identity key is out of reach")
    yield from check_way(layout, gate=gate, proxy=proxy)
    yield check_certificate_file(layout, site=site, consortium=None, now=now)
    state = layout.gateway / "state"
    yield check_disk(state)
    yield from check_keys(layout, of=(layout.tls_key, layout.node_key), writable=state)
    yield check_socket(layout)


def _place(layout: SiteLayout, *, site: str | None, gate: str | None) -> tuple[str, str]:
    """This site and its gate: as the gateway was told, or else as the home says."""
    if site and gate:
        return site, gate
    try:
        home = layout.read()
    except CohortiumError:
        raise InvalidInputError(
            "expected the site's name and the gate's address, got neither here nor from the home",
            remedy="set COHORTIUM_SITE_NAME and COHORTIUM_GATE as for `cohortium site gateway`, or give --site and --gate",
        ) from None
    return site or home.site, gate or home.gate
