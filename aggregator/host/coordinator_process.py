"""One launched study's coordinator: from its last checkpoint to its end, whatever dies on the way.

The process is crash-only. What it knows is on the disk: proposal and decisions, checkpoints, status, and the lead's requests.
It ends by itself when the study is over, and `outcome.json` then says how; ending in any other way, it is started again.
"""

from __future__ import annotations

import argparse
import datetime as dt
import fcntl
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from aggregator.authenticated_transport import AuthenticatedTransport
from aggregator.host.gate import TOKEN_HEADER
from aggregator.host.home import LOOPBACK
from aggregator.host.home_paths import HostLayout, read_small
from aggregator.host.participation import Participation
from aggregator.host.revocation import Membership
from aggregator.host.study_outcome import end_study, is_over
from aggregator.host.study_place import StudyPlace, known_proposals, reasons_against
from aggregator.host.study_status import ReportingTransport, StatusFile, read_status
from aggregator.tracking import Tracker, TrackingTarget
from aggregator.transport import Transport
from federation.durable_files import write_durably
from federation.errors import (
    CohortiumError,
    NotApprovedError,
    QuorumError,
    StudyInterruptedError,
    TransportError,
)
from federation.governance.audit import AuditEvent, EventName
from federation.governance.audit_log import AuditLog
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.protocol.audit_head import COORDINATOR
from federation.protocol.signatures import SigningKey
from federation.study.result import RoundResult, StudyResult

_LOG: Final = logging.getLogger("cohortium.coordinator")
_PAUSE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 30.0
_START_SECONDS: Final = 30.0
"""For the sites' nodes to connect before the first request."""
_NODES_SECONDS: Final = 3.0
_CHECKPOINT_KEY: Final = "coordinator.key"


def main(words: Sequence[str] | None = None) -> None:
    """``python -m conf.processes.child aggregator.host.coordinator_process:main --home FOLDER --study DIGEST``."""
    parser = argparse.ArgumentParser(description="The coordinator of one study.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--study", required=True)
    chosen = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    layout = HostLayout(chosen.home)
    place = StudyPlace.of(layout, chosen.study)
    with place.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _LOG.error("the study has a coordinator already")
            sys.exit(1)
        if not is_over(place):
            StudyCoordinator(layout, place).run()


class StudyCoordinator:
    """Runs one study.

    Args:
        layout: The host's folder.
        place: The study's.
    """

    def __init__(self, layout: HostLayout, place: StudyPlace) -> None:
        self._layout = layout
        self._place = place
        self._home = layout.read()
        self._key = SigningKey.from_bytes(read_small(layout.coordinator_key, what="the coordinator's key"))
        self._proposal = place.proposal().proposal
        self._study = self._proposal.manifest
        before = read_status(place.status)
        self._is_paused = before is not None and before.phase == "paused"
        self._status = StatusFile(place.status, self._study, now=now, process=os.getpid())
        self._log = AuditLog(layout.audit, log=COORDINATOR, key=self._key, clock=now)
        membership = Membership(layout, clock=time.monotonic, now=now, reread_seconds=self._home.reread_seconds)
        self._membership = membership
        self._participation = Participation(self._proposal, place, membership)

    def run(self) -> None:
        """Run until the study is over, and write how it ended."""
        try:
            result = self._persist()
        except CohortiumError as failure:
            phase = "stopped" if isinstance(failure, StudyInterruptedError) else "failed"
            _LOG.error("the study is %s: %s", phase, failure.message)
            self._record("study_stopped", reason=type(failure).__name__)
            self._status.change(phase=phase, last_error="" if phase == "stopped" else type(failure).__name__, asked=())
            end_study(self._place, phase, error=failure, now=now())
        else:
            from aggregator.host.study_files import write_study_files

            write_study_files(self._place, self._proposal, result, now=now())
            self._record("study_completed")
            self._status.change(phase="finished", asked=(), last_error="")
            end_study(self._place, "finished", result=result, now=now())

    def _persist(self) -> StudyResult:
        """Try again for as long as what failed may mend by itself: too few sites, or no Flower."""
        while True:
            try:
                self._heed_requests()
                return self._attempt()
            except (QuorumError, TransportError, ConnectionError) as failure:
                _LOG.warning("the study waits: %s", type(failure).__name__)
                name = type(failure).__name__ if isinstance(failure, CohortiumError) else "TransportError"
                self._status.change(phase="waiting", last_error=name, asked=())
                self._wait(_RETRY_SECONDS)

    def _attempt(self) -> StudyResult:
        """From the last checkpoint on."""
        import torch

        from aggregator.app import GridTransport
        from aggregator.coordinator import run_study
        from aggregator.held_out_records import kept_loss
        from aggregator.host.committed_rounds import unrecorded_rounds
        from aggregator.host.starting_point import study_checkpoints
        from aggregator.superlink import Link

        torch.set_num_threads(1)  # sums must not depend on the number of cores
        headers = {TOKEN_HEADER: read_small(self._layout.control_token, what="the host's token").decode()}
        address = f"{LOOPBACK}:{self._home.superlink_port}"
        secret = read_small(self._layout.executor_secret, what="the executors' secret")
        link = Link(address, secret=secret, headers=headers)
        tracker = self._tracker()
        try:
            grid = GridTransport(
                link.open(),
                sites=tuple(entry.site for entry in self._study.roster),
                deadline_seconds=self._home.answer_seconds,
                start_seconds=_START_SECONDS,
                reconnect=link.open,
                sites_by_node=self._nodes(address, headers),
                gone=self._gone,
            )
            self._status.change(phase="running")
            tracker.start(self._study, tags={"cohortium.proposal": self._proposal.digest})
            self._give_checkpoints_our_key()
            checkpoints = study_checkpoints(self._layout, self._place, self._proposal)
            for committed in unrecorded_rounds(self._layout.audit, self._study.digest, checkpoints):
                self._note_round(committed)
            result = run_study(
                self._study,
                self._transport(grid),
                tracker,
                checkpoints=checkpoints,
                clock=time.monotonic,
                on_round=self._round_done,
                streams=self._streams(),
                held_out=kept_loss(self._place.held_out, self._study),
            )
            tracker.finish("finished")
        except CohortiumError as failure:
            tracker.finish("interrupted" if isinstance(failure, StudyInterruptedError) else "failed")
            raise
        finally:
            link.close()
        return result

    def _transport(self, grid: Transport) -> Transport:
        signed = AuthenticatedTransport(grid, study=self._study, key=self._key, log=self._log)
        return ReportingTransport(signed, self._status)

    def _gone(self) -> Mapping[str, str]:
        """Asked again and again while a round waits: a study that is to stop does not wait for the round's end."""
        self._check_stop()
        return self._participation.gone()

    def _round_done(self, result: RoundResult) -> None:
        self._note_round(result)
        self._heed_requests()

    def _note_round(self, result: RoundResult) -> None:
        self._status.round_done(result)
        self._record("round_committed", round_number=result.round_number)

    def _heed_requests(self) -> None:
        """Between rounds: pause, stop, or find that the study may not run any more.

        Raises:
            StudyInterruptedError: If the lead has stopped the study.
            NotApprovedError: If it is not approved any more, has expired, or was amended.
        """
        self._check_stop()
        reasons = reasons_against(
            self._place,
            self._place.proposal(),
            self._place.decisions(),
            coordinator=self._key.public_key,
            known=known_proposals(self._layout, but=self._place),
            now=now(),
        )
        if reasons:
            raise NotApprovedError(
                "; ".join(reasons), remedy="collect what is missing, then launch again", reasons=reasons
            )
        self._status.change(withdrawn=tuple(sorted(self._withdrawn())))
        if self._place.pause_request.exists() and not self._is_paused:
            self._record("paused")
            self._is_paused = True
        while self._place.pause_request.exists():
            if self._status.status.phase != "paused":
                self._status.change(phase="paused", asked=())
            self._check_stop()
            time.sleep(_PAUSE_SECONDS)
        if self._is_paused:
            self._record("resumed")
            self._is_paused = False
            self._status.change(phase="running")

    def _check_stop(self) -> None:
        if self._place.stop_request.exists():
            raise StudyInterruptedError("stopped by the lead; every finished round is kept")

    def _withdrawn(self) -> set[str]:
        return {site for site, reason in self._participation.gone().items() if reason == "withdrawn"}

    def _wait(self, seconds: float) -> None:
        """Wait, unless the lead stops the study meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._check_stop()
            time.sleep(_PAUSE_SECONDS)

    def _nodes(self, address: str, headers: Mapping[str, str]) -> Callable[[], Mapping[int, str]]:
        """Which node is which site, by the keys that the authority admitted; as of a few seconds ago."""
        from aggregator.host.registering import Registrar

        registrar = Registrar(address, headers=headers, membership=self._membership)
        found: dict[int, str] = {}
        found_at = float("-inf")

        def look() -> Mapping[int, str]:
            nonlocal found, found_at
            if time.monotonic() - found_at > _NODES_SECONDS:
                found = registrar.sites()
                found_at = time.monotonic()
            return found

        return look

    def _streams(self) -> RandomStreams | None:
        """Test mode: the noise of a study on synthetic or public records is repeatable."""
        seed = self._proposal.test_seed
        return None if seed is None else seeded_streams(seed, provenance=self._study.cohort.provenance)

    def _give_checkpoints_our_key(self) -> None:
        """Checkpoints are signed with this host's key, whatever study they are of."""
        path = self._place.checkpoints / _CHECKPOINT_KEY
        if not path.exists():
            write_durably(path, self._key.to_bytes(), secret=True)

    def _tracker(self) -> Tracker:
        from aggregator.outbox_tracker import open_tracker

        if self._home.tracking:
            password = read_small(self._layout.tracking_password, what="MLflow's password").decode()
            os.environ |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password}
        target = TrackingTarget.choose(
            "server" if self._home.tracking else "none",
            uri=f"http://{LOOPBACK}:{self._home.mlflow_port}",
            experiment=self._study.study,
            output=self._place.folder,
        )
        return open_tracker(self._place.tracking, target)

    def _record(self, event: EventName, *, round_number: int | None = None, reason: str | None = None) -> None:
        self._log.record(
            AuditEvent(
                event=event, actor=COORDINATOR, study=self._study.digest, round_number=round_number, reason=reason
            )
        )


def now() -> dt.datetime:
    """The time of day."""
    return dt.datetime.now(tz=dt.UTC)
