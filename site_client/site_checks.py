"""Whether a site's home is in order: certificate, disk, keys, permissions, the socket between its two processes. No network."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from conf.received_files import read_bounded
from federation.errors import (
    CodeRefusedError,
    CohortiumError,
    ConfigurationError,
    EnrolmentRefusedError,
    StudyError,
    TransportError,
)
from site_client.home_paths import SiteLayout
from site_client.machine_checks import MachineCheck

_SECONDS: Final = 10.0
_LEAST_DISK: Final = 1 << 30
_SOON_DAYS: Final = 30
_LARGEST_CERTIFICATE: Final = 64 * 1024


def passed(name: str, found: str, *, remedy: str = "") -> MachineCheck:
    """A check that passed; with a remedy, something is worth doing all the same."""
    return MachineCheck(name=name, found=found, passed=True, remedy=remedy)


def failed(name: str, found: str, remedy: str, error: CohortiumError | type[CohortiumError]) -> MachineCheck:
    """A check that failed, with the exit code of the error that it would be."""
    return MachineCheck(name=name, found=found, passed=False, remedy=remedy, exit_code=error.exit_code)


def reason_of(failure: OSError) -> str:
    """What the system says, without a path."""
    return "no answer" if isinstance(failure, TimeoutError) else failure.strerror or type(failure).__name__


def check_certificate_file(layout: SiteLayout, *, site: str, consortium: str | None, now: dt.datetime) -> MachineCheck:
    """Whether the gateway's certificate is the authority's, of this site, and valid now.

    Args:
        layout: Of the site's home; only the gateway's folder is read.
        site: Whom it must name.
        consortium: Of which; ``None``: of whichever it says.
        now: The time of this machine.
    """
    from site_client.keystore import certificate_name, check_certificate

    try:
        certificate, authority = (
            read_bounded(path, largest=_LARGEST_CERTIFICATE).decode("ascii", errors="replace")
            for path in (layout.tls_certificate, layout.authority_certificate)
        )
        claimed = certificate_name(certificate).removeprefix("cohortium://").partition("/")[0]
        name = f"cohortium://{consortium or claimed}/site/{site}"
        _, expires = check_certificate(certificate, authority=authority, name=name, now=now)
    except CohortiumError as failure:
        return failed("certificate", "not valid now", failure.remedy, failure)
    days = (expires - now).days
    remedy = "renew it: `cohortium site renew`" if days < _SOON_DAYS else ""
    return passed("certificate", f"valid for {days} more days", remedy=remedy)


def check_disk(folder: Path) -> MachineCheck:
    """Whether there is room for what must be kept before it is sent."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as failure:
        return failed("disk", reason_of(failure), "make the folder, or name the right one", ConfigurationError)
    found = f"{free / (1 << 30):.1f} GiB free"
    if free >= _LEAST_DISK:
        return passed("disk", found)
    return failed("disk", found, "make at least 1 GiB free: a reply that cannot be kept is not sent", StudyError)


def check_keys(layout: SiteLayout, *, of: Iterable[Path], writable: Path | None = None) -> Iterator[MachineCheck]:
    """Whether key files are there and closed to others, and whether this account may write where it has to.

    Args:
        layout: Of the site's home.
        of: The key files.
        writable: What must be writable; ``None``: the home.
    """
    for path in of:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as failure:
            yield failed(
                path.name,
                reason_of(failure),
                "enrol the site, or run this as the account whose file it is",
                ConfigurationError,
            )
            continue
        is_ours = path.parent == layout.gateway and not mode & 0o037
        if mode & 0o077 and not is_ours:
            remedy = f"chmod 600 {path}; if others may have read it, enrol again"
            yield failed(path.name, f"others may read it (mode {mode:o})", remedy, EnrolmentRefusedError)
        else:
            yield passed(path.name, f"mode {mode:o}")
    place = layout.folder if writable is None else writable
    name = "home is writable" if writable is None else f"{place.name}/ is writable"
    if os.access(place, os.W_OK):
        yield passed(name, str(place))
    else:
        yield failed(name, str(place), "give this process's account permission to write there", ConfigurationError)


def check_code_accepted(layout: SiteLayout) -> MachineCheck:
    """Whether the installed code is what the site has accepted."""
    from site_client.accepted_code import changes, read_acceptance

    try:
        if read_acceptance(layout) is None:
            return passed("installed code", "nothing accepted yet: the first approval of a study does that")
        names = changes(layout)
    except CohortiumError as failure:
        return failed("installed code", "not to be compared", failure.remedy, failure)
    if not names:
        return passed("installed code", "as this site has accepted it")
    remedy = "see `cohortium site code`; if an upgrade was meant: `cohortium site accept-code`"
    return failed("installed code", f"{len(names)} files or libraries differ", remedy, CodeRefusedError)


def check_socket(layout: SiteLayout) -> MachineCheck:
    """Whether the agent answers on its socket, if it runs."""
    path = layout.agent_socket
    if not path.is_socket():
        return passed("agent", "does not run now")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as failure:
            return failed("agent", f"{path}: {reason_of(failure)}", "start the site again", TransportError)
    return passed("agent", "answers on its socket")
