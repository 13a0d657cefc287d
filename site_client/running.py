"""Whether a site runs, and by which process: a lock on a file tells, and falls with the process however that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from conf.processes.process_file import held_by_one, holder
from federation.errors import InvalidInputError, StudyError
from site_client.accounts import logs_folder
from site_client.home_paths import SiteLayout

_STOP_SECONDS: Final = 20.0
_STOP_POLL_SECONDS: Final = 0.1


@contextlib.contextmanager
def only_one(layout: SiteLayout) -> Generator[None]:
    """Hold the site's process file while it runs; its content is this process's number.

    Raises:
        ConfigurationError: If another process holds it.
    """
    with held_by_one(
        _process_file(layout),
        expected=f"this site not to run yet from {layout.folder}",
        remedy="`cohortium site status` shows it, `cohortium site stop` ends it",
    ):
        yield


def running_process(layout: SiteLayout) -> int | None:
    """Number of the process that runs the site, or ``None`` if none does. The lock tells, not the number."""
    return holder(_process_file(layout))


def stop_site(layout: SiteLayout, *, seconds: float = _STOP_SECONDS) -> int:
    """End the site's processes, and wait until they are gone.

    Returns:
        The number of the process that was told to end.

    Raises:
        InvalidInputError: If the site does not run.
        StudyError: If it does not end in time.
    """
    process = running_process(layout)
    if process is None:
        raise InvalidInputError(
            f"expected a site that runs from {layout.folder}, none does",
            remedy="processes that were started singly are stopped by whatever started them (systemd, a container)",
        )
    os.kill(process, signal.SIGTERM)
    end = time.monotonic() + seconds
    while running_process(layout) is not None:
        if time.monotonic() > end:
            raise StudyError(f"expected process {process} to end within {seconds:.0f} s, it did not")
        time.sleep(_STOP_POLL_SECONDS)
    return process


def _process_file(layout: SiteLayout) -> Path:
    return logs_folder(layout) / "site.pid"
