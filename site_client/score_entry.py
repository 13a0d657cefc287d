"""That a release was scored, in the site's audit log: which release, of which study, or why it was refused. No figure."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

from federation.durable_files import read_whole
from federation.errors import CohortiumError, InvalidInputError
from federation.governance.audit import AuditEvent, reason_of
from federation.governance.audit_log import AuditLog
from federation.governance.releases import RELEASE_FILE, read_release_record
from site_client.home_paths import SiteLayout
from site_client.ledger.key_file import read_key

_LARGEST_RECORD: Final = 2**20


@contextlib.contextmanager
def scored(layout: SiteLayout, release: Path) -> Generator[None]:
    """Write an entry about the scoring done inside, also if it is refused. Where no site is enrolled, there is no log.

    Args:
        layout: Of the site's home.
        release: The release folder. Its record is hashed as it lies there, whether or not it is genuine.

    Raises:
        InvalidInputError: If the site's key is missing.
        AuditLogDamagedError: If the log does not hold: then nothing is scored.
        StudyError: If it cannot be written.
    """
    if not layout.site_file.is_file():
        yield
        return
    site, key = layout.read().site, read_key(layout.identity_key.with_suffix(""))
    if key is None:
        raise InvalidInputError(
            f"expected the site's key at {layout.identity_key}, got none",
            remedy="run this as the agent's account, or as root",
        )
    with AuditLog(layout.audit, log=site, key=key, clock=_now) as log:
        try:
            yield
        except CohortiumError as refusal:
            log.record(_entry("release_refused", release, reason=reason_of(refusal)))
            raise
        log.record(_entry("model_scored", release))


def _entry(event: str, release: Path, *, reason: str | None = None) -> AuditEvent:
    study: str | None = None
    with contextlib.suppress(CohortiumError):
        study = read_release_record(release).release.manifest_digest
    hashes: dict[str, str] = {}
    with contextlib.suppress(OSError):
        hashes["release"] = hashlib.sha256(read_whole(release / RELEASE_FILE, largest=_LARGEST_RECORD)).hexdigest()
    return AuditEvent.from_data(
        {"event": event, "actor": f"uid{os.getuid()}", "study": study, "reason": reason, "hashes": dict(hashes)}
    )


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)
