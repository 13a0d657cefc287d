"""What a study's coordinator says about it, in a file that survives whatever happens to the process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from aggregator.host.home_paths import read_small
from aggregator.transport import SiteReply, Transport
from federation.documents import Document
from federation.durable_files import write_durably
from federation.errors import CheckpointError
from federation.identifiers import SiteId, StudyId
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult

Phase = Literal["launched", "waiting", "running", "paused", "finished", "stopped", "failed"]
"""``waiting``: too few sites answered, or Flower is gone; it goes on by itself. ``failed``: somebody must look at it."""
OVER: Final = frozenset({"finished", "stopped", "failed"})
_LARGEST_BYTES: Final = 1024 * 1024

Whole = Annotated[int, Field(ge=0)]


class StudyStatus(Document):
    """Content of ``status.json``."""

    study: StudyId
    version: int
    manifest: str
    """Its digest."""
    phase: Phase
    rounds_complete: Whole
    rounds: Whole
    updated: AwareDatetime
    sites: tuple[SiteId, ...]
    asked: tuple[SiteId, ...] = ()
    """Sites that were asked and have not answered."""
    answered: dict[SiteId, AwareDatetime] = Field(default_factory=dict[str, dt.datetime])
    """When a site's last answer came."""
    missing: dict[SiteId, str] = Field(default_factory=dict[str, str])
    """Sites without an answer to the last request they were sent, with the reason code."""
    epsilon_spent: dict[SiteId, float] = Field(default_factory=dict[str, float])
    metrics: dict[str, float] = Field(default_factory=dict[str, float])
    """Of the last evaluated round, as the study releases them."""
    withdrawn: tuple[SiteId, ...] = ()
    last_error: str = ""
    """Name of an error class."""
    process: Whole = 0
    """Number of the coordinator's process."""


class StatusFile:
    """Keeps ``status.json`` up to date. Every change is on the disk before the study goes on.

    Args:
        path: The file.
        study: What was agreed.
        now: The time of day.
        process: Number of this process.
    """

    def __init__(self, path: Path, study: StudyManifest, *, now: Callable[[], dt.datetime], process: int) -> None:
        self._path = path
        self._now = now
        before = read_status(path)
        start = StudyStatus(
            study=study.study,
            version=study.version,
            manifest=study.digest,
            phase="launched",
            rounds_complete=0,
            rounds=study.schedule.rounds,
            updated=now(),
            sites=tuple(entry.site for entry in study.roster),
        )
        self.status = (before or start).model_copy(update={"process": process})
        self.change(phase="launched", last_error="")

    def change(self, **fields: object) -> None:
        """Set fields and write."""
        self.status = self.status.model_copy(update={**fields, "updated": self._now()})
        write_durably(self._path, self.status.model_dump_json(indent=1).encode())

    def asked(self, sites: tuple[str, ...]) -> None:
        """Requests are on their way."""
        self.change(phase="running", asked=sites)

    def came(self, reply: SiteReply) -> None:
        """A site's answer, or the word that there is none."""
        status = self.status
        asked = tuple(site for site in status.asked if site != reply.site)
        missing = {site: reason for site, reason in status.missing.items() if site != reply.site}
        if reply.content is None:
            self.change(asked=asked, missing=missing | {reply.site: reply.reason})
        else:
            self.change(asked=asked, missing=missing, answered=status.answered | {reply.site: self._now()})

    def round_done(self, result: RoundResult) -> None:
        """A round is committed."""
        self.change(
            rounds_complete=result.round_number,
            epsilon_spent=dict(result.epsilon_spent) or self.status.epsilon_spent,
            metrics=dict(result.metrics) or self.status.metrics,
            missing={**result.dropouts},
            last_error="",
        )


class ReportingTransport:
    """Tells the status file who was asked and who answered.

    Args:
        inner: Carries the bytes.
        status: Where it is told.
    """

    def __init__(self, inner: Transport, status: StatusFile) -> None:
        self._inner = inner
        self._status = status

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """As the inner transport."""
        self._status.asked(tuple(requests))
        for reply in self._inner.exchange(requests):
            self._status.came(reply)
            yield reply

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


def read_status(path: Path) -> StudyStatus | None:
    """The status in a file, or ``None`` before the first.

    Raises:
        CheckpointError: If the file holds something else.
    """
    if not path.is_file():
        return None
    return StudyStatus.from_json(
        read_small(path, what="a study's status", largest=_LARGEST_BYTES), error=CheckpointError
    )
