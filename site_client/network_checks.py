"""Whether a site's gateway can reach the consortium's gate: name, way, certificate, clock, disk, files, socket.

Nothing is sent but a request for a page that the gate does not have.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from conf.received_files import read_bounded
from federation.errors import CohortiumError, ConfigurationError, EnrolmentRefusedError, StudyError, TransportError
from site_client.gateway.gate_files import GateFiles, proxy_for
from site_client.machine_checks import MachineCheck
from site_client.site_home import SiteHome, SiteLayout

_SECONDS: Final = 10.0
_AHEAD: Final = 4
"""Seconds: Flower's server believes no time stamp that is more than five seconds in its future."""
_BEHIND: Final = 240
"""Seconds: nor one that is more than five minutes old."""
_LEAST_DISK: Final = 1 << 30
_SOON_DAYS: Final = 30
_LARGEST_CERTIFICATE: Final = 64 * 1024


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
        return (_failed("enrolment", "not enrolled", failure.remedy, failure),)
    files = GateFiles.of(layout.gateway, proxy=proxy)
    address = f"https://{home.gate}"
    way = proxy_for(address, proxy)
    return (
        _passed("enrolment", f"{home.site} in {home.consortium}, gate {home.gate}"),
        *_ways(address, way),
        *_gate(files, address),
        _certificate(layout, home, now),
        _disk(layout),
        *_files(layout),
        _socket(layout),
    )


def _ways(address: str, proxy: str | None) -> Iterator[MachineCheck]:
    """Name and port of the gate; with a proxy those of the proxy, and whether it would go without."""
    direct = _reach("gate", address)
    if proxy is None:
        yield from direct
        return
    yield from _reach("proxy", proxy)
    reached = all(check.passed for check in direct)
    yield _passed("without the proxy", "the gate can be reached as well" if reached else "the gate cannot be reached")


def _reach(what: str, address: str) -> tuple[MachineCheck, ...]:
    parts = urlsplit(address if "//" in address else f"http://{address}")
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        remedy = f"ask the network team why the name {host} is not known here; behind a proxy, set HTTPS_PROXY"
        return (_failed(f"name of the {what}", f"{host}: unknown", remedy, TransportError),)
    name = _passed(f"name of the {what}", f"{host}: {len({entry[4][0] for entry in found})} address(es)")
    try:
        with socket.create_connection((host, port), timeout=_SECONDS):
            return (name, _passed(f"port of the {what}", f"{host}:{port} answers"))
    except OSError as failure:
        remedy = f"let this machine connect out to {host}, TCP port {port}; nothing has to be let in"
        return (name, _failed(f"port of the {what}", f"{host}:{port}: {_why(failure)}", remedy, TransportError))


def _gate(files: GateFiles, address: str) -> Iterator[MachineCheck]:
    import httpx

    try:
        with files.http(address, timeout=_SECONDS) as client:
            before = dt.datetime.now(tz=dt.UTC)
            answer = client.get(address)
    except CohortiumError as failure:
        yield _failed("TLS to the gate", type(failure).__name__, failure.remedy, failure)
        return
    except httpx.HTTPError as failure:
        yield _failed("TLS to the gate", *_of_failure(failure), TransportError)
        return
    yield _passed("TLS to the gate", f"the gate knows this site's certificate, answer {answer.status_code}")
    yield _clock(answer.headers.get("date", ""), before)


def _of_failure(failure: Exception) -> tuple[str, str]:
    """What was found and what to do, from the kind of the failure."""
    import httpx

    text = str(failure).lower()
    if isinstance(failure, httpx.ProxyError):
        return "the proxy refused", "ask the network team to let the proxy connect to the gate (method CONNECT)"
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
        return _passed("clock", "the gate does not tell the time; compare this machine's clock with another")
    found = f"{abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the gate"
    if -_BEHIND <= difference <= _AHEAD:
        return _passed("clock", found)
    return _failed("clock", found, "let this machine set its clock by NTP", ConfigurationError)


def _certificate(layout: SiteLayout, home: SiteHome, now: dt.datetime) -> MachineCheck:
    from site_client.keystore import check_certificate

    try:
        certificate, authority = (
            read_bounded(path, largest=_LARGEST_CERTIFICATE).decode("ascii", errors="replace")
            for path in (layout.tls_certificate, layout.authority_certificate)
        )
        name = f"cohortium://{home.consortium}/site/{home.site}"
        _, expires = check_certificate(certificate, authority=authority, name=name, now=now)
    except CohortiumError as failure:
        return _failed("certificate", "not valid now", failure.remedy, failure)
    days = (expires - now).days
    remedy = "renew it: `cohortium site renew`" if days < _SOON_DAYS else ""
    return MachineCheck(name="certificate", found=f"valid for {days} more days", passed=True, remedy=remedy)


def _disk(layout: SiteLayout) -> MachineCheck:
    free = shutil.disk_usage(layout.folder).free
    found = f"{free / (1 << 30):.1f} GiB free"
    if free >= _LEAST_DISK:
        return _passed("disk", found)
    return _failed("disk", found, "make at least 1 GiB free: a reply that cannot be kept is not sent", StudyError)


def _files(layout: SiteLayout) -> Iterator[MachineCheck]:
    for path in (layout.identity_key, layout.tls_key, layout.node_key):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as failure:
            yield _failed(
                path.name, _why(failure), "enrol the site, or run this as the agent's account", ConfigurationError
            )
            continue
        is_ours = path.parent == layout.gateway and not mode & 0o037
        if mode & 0o077 and not is_ours:
            remedy = f"chmod 600 {path}; if others may have read it, enrol again"
            yield _failed(path.name, f"others may read it (mode {mode:o})", remedy, EnrolmentRefusedError)
        else:
            yield _passed(path.name, f"mode {mode:o}")
    writable = os.access(layout.folder, os.W_OK)
    found = str(layout.folder)
    yield (
        _passed("home is writable", found)
        if writable
        else _failed(
            "home is writable", found, "give the agent's account permission to write there", ConfigurationError
        )
    )


def _socket(layout: SiteLayout) -> MachineCheck:
    path = layout.agent_socket
    if not path.is_socket():
        return _passed("agent", "does not run now")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as failure:
            return _failed("agent", f"{path}: {_why(failure)}", "start the site again", TransportError)
    return _passed("agent", "answers on its socket")


def _passed(name: str, found: str) -> MachineCheck:
    return MachineCheck(name=name, found=found, passed=True)


def _failed(name: str, found: str, remedy: str, error: CohortiumError | type[CohortiumError]) -> MachineCheck:
    return MachineCheck(name=name, found=found, passed=False, remedy=remedy, exit_code=error.exit_code)


def _why(failure: OSError) -> str:
    return "no answer" if isinstance(failure, TimeoutError) else failure.strerror or type(failure).__name__
