"""What a site may send to whoever helps it: versions, checks, counts of messages, and event lines of the logs. No patient, no key.

Everything is put together from parts that cannot hold either: documents of ours with fields of known kinds, and those lines of the
logs that are events (:mod:`site_client.event_log`). Free text of logs, errors and records stays where it is.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import os
import platform
import tarfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from federation.durable_files import write_durably
from federation.errors import CohortiumError
from site_client.accounts import logs_folder
from site_client.event_log import is_event_line
from site_client.home_paths import SiteLayout
from site_client.machine_checks import MachineReport
from site_client.site_processes import AGENT, GATEWAY
from site_client.site_status import site_status

_PACKAGES: Final = ("cohortium", "torch", "opacus", "flwr", "cryptography", "numpy", "pydantic", "duckdb", "httpx")
_MOST_LOG_BYTES: Final = 8 * 1024 * 1024
_LONGEST_LINE: Final = 1000


def write_support_bundle(layout: SiteLayout, path: Path, *, checks: MachineReport, now: dt.datetime) -> tuple[str, ...]:
    """Write the bundle, a gzipped tar file that its owner should look into before it is sent.

    Args:
        layout: Of the site's home.
        path: Where to.
        checks: What ``cohortium site doctor`` found.
        now: The time.

    Returns:
        The names of the files in it.
    """
    parts = {
        "versions.json": _json(_versions()),
        "doctor.json": _json(
            {check.name: {"passed": check.passed, "exit_code": check.exit_code} for check in checks.checks}
        ),
        "status.json": _json(_status(layout, now)),
    }
    for name in (AGENT, GATEWAY):
        lines = list(event_lines(logs_folder(layout) / f"{name}.log"))
        parts[f"{name}.events.jsonl"] = "".join(f"{line}\n" for line in lines).encode()
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"cohortium-support/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(now.timestamp()), 0o644
            archive.addfile(entry, io.BytesIO(content))
    write_durably(path, packed.getvalue(), secret=True)
    return tuple(parts)


def event_lines(path: Path) -> Iterator[str]:
    """Those lines at the end of a log that may leave the hospital.

    Args:
        path: A log; one that is not there has no lines.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _MOST_LOG_BYTES))
            content = stream.read(_MOST_LOG_BYTES)
    except OSError:
        return
    for line in content.decode(errors="replace").splitlines():
        if len(line) <= _LONGEST_LINE and is_event_line(line):
            yield line


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _status(layout: SiteLayout, now: dt.datetime) -> dict[str, object]:
    """Facts of known kinds only: of a refusal its class, never what it says."""
    try:
        status = site_status(layout, now=now)
    except CohortiumError as failure:
        return {"error": type(failure).__name__}
    return {
        "consortium": status.consortium,
        "site": status.site,
        "running": status.running is not None,
        "agent_answers": status.agent_answers,
        "separate_accounts": len({process.user for process in status.processes}) > 1,
        "since": status.since,
        "strangers": status.strangers,
        "refused_runs": status.refused_runs,
        "ledger_locked": status.ledger_locked is not None,
        "studies": [
            {
                "study": study.study_digest,
                "may_run": study.may_run,
                "why_not": study.why_not.partition(":")[0],
                "paused": study.paused,
                "rounds_answered": study.rounds_answered,
                "activity": None if study.activity is None else study.activity.as_data(),
            }
            for study in status.studies
        ],
    }


def _json(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, indent=1).encode()
