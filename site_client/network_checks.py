"""Whether a site's gateway can reach the consortium's gate: name, port, proxy, TLS, clock.

Nothing is sent but a request for a page that the gate does not have.
"""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from federation.errors import CohortiumError, ConfigurationError, TransportError
from site_client.gateway.gate_files import GateFiles, proxy_for
from site_client.home_paths import SiteLayout
from site_client.machine_checks import MachineCheck
from site_client.site_checks import (
    check_certificate_file,
    check_code_accepted,
    check_disk,
    check_keys,
    check_socket,
    failed,
    passed,
    reason_of,
)

_SECONDS: Final = 10.0
_AHEAD: Final = 4
"""Seconds: Flower's server believes no time stamp that is more than five seconds in its future."""
_BEHIND: Final = 60
"""Seconds: Flower takes five minutes, but invitations, certificates and last days end by the clock, too."""


def check_network(layout: SiteLayout, *, proxy: str | None, now: dt.datetime) -> tuple[MachineCheck, ...]:
    """Look at everything between this site and the gate.

    Args:
        layout: Of the site's home.
        proxy: Address of an HTTP proxy, as the gateway would use it.
        now: The time of this machine.
    """
    try:
        home = layout.read()
    except CohortiumError as failure:
        return (failed("enrolment", "not enrolled", failure.remedy, failure),)
    return (
        passed("enrolment", f"{home.site} in {home.consortium}, gate {home.gate}"),
        *check_way(layout, gate=home.gate, proxy=proxy),
        check_certificate_file(layout, site=home.site, consortium=home.consortium, now=now),
        check_disk(layout.folder),
        *check_keys(layout, of=(layout.identity_key, layout.tls_key, layout.node_key)),
        check_code_accepted(layout),
        check_socket(layout),
    )


def check_way(layout: SiteLayout, *, gate: str, proxy: str | None) -> tuple[MachineCheck, ...]:
    """Name, port, proxy, TLS and clock. Reads the gateway's folder only.

    Args:
        layout: Of the site's home.
        gate: ``host:port``.
        proxy: Address of an HTTP proxy, as the gateway would use it.
    """
    files = GateFiles.of(layout.gateway, proxy=proxy)
    address = f"https://{gate}"
    return (*_ways(address, proxy_for(address, proxy)), *_gate(files, address))


def _ways(address: str, proxy: str | None) -> Iterator[MachineCheck]:
    """Name and port of the gate; with a proxy those of the proxy, and whether it would go without."""
    direct = _reach("gate", address)
    if proxy is None:
        yield from direct
        return
    yield from _reach("proxy", proxy)
    reached = all(check.passed for check in direct)
    yield passed("without the proxy", "the gate can be reached as well" if reached else "the gate cannot be reached")


def _reach(what: str, address: str) -> tuple[MachineCheck, ...]:
    parts = urlsplit(address if "//" in address else f"http://{address}")
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        remedy = f"ask the network team why the name {host} is not known here; behind a proxy, set HTTPS_PROXY"
        return (failed(f"name of the {what}", f"{host}: unknown", remedy, TransportError),)
    name = passed(f"name of the {what}", f"{host}: {len({entry[4][0] for entry in found})} address(es)")
    try:
        with socket.create_connection((host, port), timeout=_SECONDS):
            return (name, passed(f"port of the {what}", f"{host}:{port} answers"))
    except OSError as failure:
        remedy = f"let this machine connect out to {host}, TCP port {port}; nothing has to be let in"
        return (name, failed(f"port of the {what}", f"{host}:{port}: {reason_of(failure)}", remedy, TransportError))


def _gate(files: GateFiles, address: str) -> Iterator[MachineCheck]:
    import httpx

    try:
        with files.http(address, timeout=_SECONDS) as client:
            before = dt.datetime.now(tz=dt.UTC)
            answer = client.get(address)
    except CohortiumError as failure:
        yield failed("TLS to the gate", type(failure).__name__, failure.remedy, failure)
        return
    except httpx.HTTPError as failure:
        yield failed("TLS to the gate", *_of_failure(failure), TransportError)
        return
    yield passed("TLS to the gate", f"the gate knows this site's certificate, answer {answer.status_code}")
    yield _clock(answer.headers.get("date", ""), before)


def _of_failure(failure: Exception) -> tuple[str, str]:
    """What was found and what to do, from the kind of the failure."""
    import httpx

    text = str(failure).lower()
    if isinstance(failure, httpx.ProxyError):
        return "the proxy refused", "ask the network team to let the proxy connect to the gate (method CONNECT)"
    if "not yet valid" in text or "has expired" in text:
        return (
            "the gate's certificate is not valid at this machine's time",
            "let this machine set its clock by NTP; if it is right, tell the consortium that its certificate has expired",
        )
    if "certificate verify failed" in text or "certificate_verify_failed" in text:
        return (
            "the gate's certificate is not the consortium's",
            "something on the way opens TLS (ask for an exception for the gate), or this is not the gate",
        )
    if "alert" in text or isinstance(failure, httpx.ReadError | httpx.RemoteProtocolError):
        return (
            "the gate refused this site's certificate",
            "it may have expired or been revoked: see below, and ask the consortium",
        )
    return type(failure).__name__, "see the checks above; try again when they pass"


def _clock(date: str, now: dt.datetime) -> MachineCheck:
    try:
        difference = (now - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return passed("clock", "the gate does not tell the time; compare this machine's clock with another")
    found = f"{abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the gate"
    if -_BEHIND <= difference <= _AHEAD:
        return passed("clock", found)
    return failed("clock", found, "let this machine set its clock by NTP", ConfigurationError)
