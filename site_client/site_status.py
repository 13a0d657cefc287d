"""How a site is: processes, studies, what they have done, what is spent. For the site's own people."""

from __future__ import annotations

import datetime as dt
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from conf.processes.supervisor import PROCESSES_FILE
from conf.received_files import read_bounded
from federation.documents import Document
from federation.errors import CohortiumError
from federation.governance.proposals import SignedProposal
from site_client.accounts import logs_folder
from site_client.activity import StudyActivity, read_activity
from site_client.home_paths import SiteLayout
from site_client.pausing import read_paused
from site_client.permission import Permissions
from site_client.running import running_process
from site_client.site_folder import SiteFolder
from site_client.site_home import SiteHome
from site_client.site_processes import AGENT, GATEWAY
from site_client.study_papers import StudyPapers

_LARGEST_FILE: Final = 64 * 1024
_PROBE_SECONDS: Final = 2.0


class ProcessStatus(Document):
    """One of the two processes."""

    name: str
    process: int | None
    """Its number; ``None`` if it does not run under this site's supervisor."""
    user: int | None
    """The account that it runs as."""


class SiteStudy(Document):
    """One study at this site."""

    study: str
    """Short name."""
    version: int
    study_digest: str
    """Of the manifest."""
    may_run: bool
    why_not: str
    """Class name of the error that a request would get now, and what it says."""
    paused: bool
    rounds_answered: int
    epsilon_spent: float | None
    """Of this study alone; ``None`` where there is no ledger or nothing was charged."""
    activity: StudyActivity | None
    """Since the agent was started."""


class SiteStatus(Document):
    """All of it."""

    site: str
    consortium: str
    gate: str
    running: int | None
    """Number of the supervising process."""
    agent_answers: bool
    """Whether somebody listens on the agent's socket."""
    processes: tuple[ProcessStatus, ...]
    since: str
    """When the agent was started; empty if it never was."""
    strangers: int
    refused_runs: int
    epsilon_spent: float | None
    epsilon_cap: float | None
    ledger_locked: str | None
    studies: tuple[SiteStudy, ...]


def site_status(layout: SiteLayout, *, now: dt.datetime) -> SiteStatus:
    """How the site is.

    Args:
        layout: Of its home. Run by the agent's account, or by root.
        now: The time.

    Raises:
        InvalidInputError: If the site is not enrolled.
        LedgerDamagedError: If the ledger does not hold.
    """
    from site_client.ledger.ledger import Ledger

    home = layout.read()
    activity = read_activity(layout)
    status = None
    if layout.ledger.is_file():
        with Ledger.open(layout.ledger, clock=lambda: now) as ledger:
            status = ledger.status()
    by_study = {} if status is None else {study.study: study.epsilon_alone for study in status.studies}
    done = {} if activity is None else activity.studies
    return SiteStatus(
        site=home.site,
        consortium=home.consortium,
        gate=home.gate,
        running=running_process(layout),
        agent_answers=_answers(layout.agent_socket),
        processes=tuple(_processes(layout)),
        since="" if activity is None else activity.since,
        strangers=0 if activity is None else activity.strangers,
        refused_runs=0 if activity is None else activity.refused_runs,
        epsilon_spent=None if status is None else status.epsilon_spent,
        epsilon_cap=None if status is None else status.epsilon_cap,
        ledger_locked=None if status is None else status.locked,
        studies=tuple(
            _study(layout, home, signed, now=now, spent=by_study, done=done)
            for signed in StudyPapers(layout).proposals()
        ),
    )


def _study(
    layout: SiteLayout,
    home: SiteHome,
    signed: SignedProposal,
    *,
    now: dt.datetime,
    spent: dict[str, float],
    done: dict[str, StudyActivity],
) -> SiteStudy:
    manifest = signed.proposal.manifest
    digest = manifest.digest
    try:
        Permissions(layout, home).check(digest, training=True, now=now)
        why_not = ""
    except CohortiumError as refusal:
        why_not = f"{type(refusal).__name__}: {refusal.message}"
    return SiteStudy(
        study=manifest.study,
        version=manifest.version,
        study_digest=digest,
        may_run=not why_not,
        why_not=why_not,
        paused=read_paused(layout).holds(digest),
        rounds_answered=SiteFolder(layout.study(digest)).rounds_answered(),
        epsilon_spent=spent.get(digest),
        activity=done.get(digest),
    )


def _processes(layout: SiteLayout) -> Iterator[ProcessStatus]:
    try:
        content = json.loads(read_bounded(logs_folder(layout) / PROCESSES_FILE, largest=_LARGEST_FILE))
    except (CohortiumError, ValueError):
        content = {}
    numbers = content if isinstance(content, dict) and running_process(layout) is not None else {}
    for name in (AGENT, GATEWAY):
        number = numbers.get(name)
        yield ProcessStatus(name=name, process=number, user=_user_of(number) if isinstance(number, int) else None)


def _user_of(process: int) -> int | None:
    try:
        return Path(f"/proc/{process}").stat().st_uid
    except OSError:
        return None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
