"""What becomes of a study's release, in the audit log of the host that ran the study.

A release is made, accepted and registered by commands that also work elsewhere, on a lead's laptop or at a site. On the host that
ran the study they write an entry; anywhere else there is no log of the study, and nothing is written.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

from aggregator.host.home_paths import HostLayout
from aggregator.host.launching import coordinator_key
from aggregator.host.study_place import StudyPlace
from federation.durable_files import read_whole
from federation.errors import CohortiumError
from federation.governance.audit import AuditEvent, EventName, reason_of
from federation.governance.audit_log import AuditLog
from federation.governance.releases import RELEASE_FILE
from federation.protocol.audit_head import COORDINATOR

LARGEST_RECORD: Final = 2**20
"""Bytes of a release's record."""


def host_that_ran(digest: str, *, home: Path, run: Path | None = None) -> HostLayout | None:
    """The host's folder, if this machine's host ran the study.

    Args:
        digest: Of the manifest.
        home: The host's folder, as the command was told.
        run: The study's own folder, which may lie in a host's folder: then that one counts.
    """
    inside = [] if run is None else [run.expanduser().absolute().parent.parent]
    for folder in (*inside, home):
        layout = HostLayout(folder)
        if layout.settings.is_file() and StudyPlace.of(layout, digest).proposal_file.is_file():
            return layout
    return None


@contextlib.contextmanager
def release_entry(
    layout: HostLayout | None, event: EventName, *, study: str, now: dt.datetime, site: str | None = None
) -> Generator[dict[str, str]]:
    """Write an entry about what is done inside, if there is a log; also if it is refused.

    Args:
        layout: From :func:`host_that_ran`; ``None``: nothing is written.
        event: What it is if it succeeds.
        study: Digest of the manifest.
        now: For the entry.
        site: Whom it concerns.

    Yields:
        Where to put hashes, SHA-256 by name.

    Raises:
        AuditLogDamagedError: If the log does not hold: then nothing was done.
        StudyError: If it cannot be written.
    """
    hashes: dict[str, str] = {}
    if layout is None:
        yield hashes
        return

    def entry(name: EventName, reason: str | None = None) -> AuditEvent:
        actor = f"uid{os.getuid()}"
        return AuditEvent(event=name, actor=actor, study=study, site=site, reason=reason, hashes=hashes)

    with AuditLog(layout.audit, log=COORDINATOR, key=coordinator_key(layout), clock=lambda: now) as log:
        try:
            yield hashes
        except CohortiumError as refusal:
            log.record(entry("release_refused", reason_of(refusal)))
            raise
        log.record(entry(event))


def record_hash(folder: Path) -> str:
    """SHA-256 of a release's record, which names all its files."""
    return hashlib.sha256(read_whole(folder / RELEASE_FILE, largest=LARGEST_RECORD)).hexdigest()
