"""Whether the installed code is still what the site has accepted, while a process runs. The standard library only.

A process that has begun imports more as it goes, and an upgrade replaces the files below it. So a study's first request, and a
request a minute, is answered only if the files are those that this process began with, and those are the ones accepted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Final

from federation.errors import CodeRefusedError
from site_client.installed_code import ROOT, Installed, differences, installed_files, read_accepted

EVERY: Final = dt.timedelta(minutes=1)
_REMEDY: Final = "accept the installed code (`cohortium site accept-code`) and start the site again"


class CodeWatch:
    """Looks again.

    Args:
        paper: What the site has accepted.
        began: What was installed when this process began.
        clock: Says when it is time to look again.
        root: The folder that holds our packages.
        shared_only: As in :func:`~site_client.installed_code.differences`.
    """

    def __init__(
        self,
        paper: Path,
        began: Installed,
        *,
        clock: Callable[[], dt.datetime],
        root: Path = ROOT,
        shared_only: bool = False,
    ) -> None:
        self._paper, self._began, self._clock, self._root = paper, began, clock, root
        self._shared_only = shared_only
        self._looked: dict[str, dt.datetime] = {}

    def check(self, study: str) -> None:
        """Look, if this study is new or a minute has passed.

        Args:
            study: Digest of the manifest, or whatever names what is to be served.

        Raises:
            CodeRefusedError: If the installed code is not what this process began with, or that is not accepted.
        """
        now, last = self._clock(), self._looked.get(study)
        if last is not None and dt.timedelta(0) <= now - last < EVERY:
            return
        accepted = read_accepted(self._paper)
        if accepted is None:
            raise _refused("expected installed code that this site has accepted, it has accepted none yet")
        names = differences(accepted, self._began, shared_only=self._shared_only)
        names = names or differences(self._began, Installed(installed_files(self._root), self._began.libraries))
        if names:
            raise _refused(f"expected the code that this site has accepted, {len(names)} files or libraries are others")
        self._looked = {study: now} | {
            name: at for name, at in self._looked.items() if now - at < EVERY and name != study
        }


def _refused(message: str) -> CodeRefusedError:
    return CodeRefusedError(message, remedy=_REMEDY, reason="installed_code")
