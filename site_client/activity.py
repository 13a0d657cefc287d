"""What the agent has done since it was started, for ``cohortium site status``: no counts of patients, no content of messages.

Not durable on purpose: the ledger and the audit log are what counts, this is only what a person wants to see at a glance.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
from pathlib import Path
from typing import Final

from conf.received_files import read_received
from federation.documents import Document
from federation.errors import InvalidInputError
from site_client.home_paths import SiteLayout

_LOG: Final = logging.getLogger("cohortium.agent")
_FILE: Final = "activity.json"
_MOST_STUDIES: Final = 1000


class StudyActivity(Document):
    """Of one study."""

    last_request: str
    """Time, UTC."""
    kind: str
    round_number: int | None = None
    answered: int = 0
    refused: int = 0
    last_error: str = ""
    """Class name of the error of the last refusal."""
    last_error_time: str = ""


class Activity(Document):
    """Of the agent."""

    process: int
    since: str
    studies: dict[str, StudyActivity] = {}
    """By digest of the manifest."""
    strangers: int = 0
    """Requests that the coordinator had not signed."""
    refused_runs: int = 0
    """Flower runs that the gateway refused."""


class ActivityLog:
    """Keeps and writes it.

    Args:
        layout: Of the site's home.
        now: When the agent started.
    """

    def __init__(self, layout: SiteLayout, *, now: dt.datetime) -> None:
        self._path = _path(layout)
        self._activity = Activity(process=os.getpid(), since=_text(now))
        self._write()

    def stranger(self) -> None:
        """A request came that the coordinator had not signed."""
        self._change(strangers=self._activity.strangers + 1)

    def refused_run(self) -> None:
        """The gateway refused a run."""
        self._change(refused_runs=self._activity.refused_runs + 1)

    def request(self, study: str, *, kind: str, round_number: int | None, error: str, now: dt.datetime) -> None:
        """A genuine request was answered, or refused with the error of that name."""
        before = self._activity.studies.get(study) or StudyActivity(last_request="", kind="")
        after = StudyActivity(
            last_request=_text(now),
            kind=kind,
            round_number=round_number,
            answered=before.answered + (not error),
            refused=before.refused + bool(error),
            last_error=error or before.last_error,
            last_error_time=_text(now) if error else before.last_error_time,
        )
        studies = {**self._activity.studies, study: after}
        while len(studies) > _MOST_STUDIES:
            del studies[next(iter(studies))]
        self._change(studies=studies)

    def _change(self, **changes: object) -> None:
        self._activity = self._activity.model_copy(update=changes)
        self._write()

    def _write(self) -> None:
        """A disk that is full costs a glance at the status, never an answer: what was released must still be sent."""
        temporary = self._path.with_name(f".{self._path.name}.part")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(self._activity.model_dump_json().encode())
            temporary.replace(self._path)
        except OSError as failure:
            _LOG.warning("what the agent did cannot be shown: %s", failure.strerror or type(failure).__name__)


def read_activity(layout: SiteLayout) -> Activity | None:
    """What the agent wrote last; ``None`` if it never ran, or the file is not one."""
    try:
        return read_received(_path(layout), Activity)
    except InvalidInputError:
        return None


def _path(layout: SiteLayout) -> Path:
    return layout.folder / _FILE


def _text(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).isoformat(timespec="seconds")
