"""The tracker of real runs: everything goes to the outbox first, and from there to MLflow in the background."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from aggregator.delivery_process import Courier, shared_process
from aggregator.outbox import Outbox
from aggregator.run_records import (
    RunRecord,
    baseline_record,
    clean_key,
    figures_record,
    round_record,
    status_record,
    study_record,
)
from aggregator.tracking import NullTracker, RunStatus, Tracker, TrackingTarget
from federation.durable_files import write_durably
from federation.errors import InvalidInputError
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult

_LOG: Final = logging.getLogger("cohortium.tracking")
_MANIFEST_FILE: Final = "manifest.json"


def open_tracker(folder: Path, target: TrackingTarget) -> Tracker:
    """The tracker for a target: an :class:`OutboxTracker`, or one that records nothing for kind ``none``."""
    return NullTracker() if target.kind == "none" else OutboxTracker(folder, target)


class OutboxTracker:
    """Writes events durably to ``folder`` and returns; a courier delivers them.

    Args:
        folder: The run's tracking folder, kept for a restart.
        target: Where events are delivered.
        courier: Delivers in the background; by default a process shared by all trackers.
        patience: Seconds that :meth:`finish` waits for delivery. It waits less if a try failed: then events wait for a
            restart or for ``cohortium tracking deliver``.
        clock: Seconds, for ``patience``.

    Raises:
        CheckpointError: If the folder holds a damaged outbox.
        MissingDependencyError: If mlflow is not installed.
    """

    def __init__(
        self,
        folder: Path,
        target: TrackingTarget,
        *,
        courier: Courier | None = None,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._courier = courier or shared_process()
        self._patience = patience
        self._clock = clock
        self._outbox = Outbox(folder, create=True)

    @property
    def waiting(self) -> int:
        """Events that have not arrived yet."""
        return self._outbox.counts(self._target).waiting

    def start(self, manifest: StudyManifest, *, tags: Mapping[str, str]) -> None:
        """Begin, or continue after a restart, the run of this manifest.

        Raises:
            CheckpointError: If the folder holds the outbox of another study.
        """
        self._outbox.begin(manifest.digest)
        self._outbox.note_target(self._target)
        self._outbox.add("start", study_record(manifest, tags=tags))
        sealed = self._outbox.folder / _MANIFEST_FILE
        write_durably(sealed, manifest.sealed().encode())
        self.record_artefact(sealed)
        self._note_status(None)
        self._courier.call(self._outbox.folder)

    def record_rounds(self, results: Sequence[RoundResult]) -> None:
        """Record finished rounds in one commit; each once, however often it is called."""
        if results:
            self._outbox.add_all({f"round:{result.round_number}": round_record(result) for result in results})

    def record_baseline(self, name: str, metrics: Mapping[str, float], *, parameters: Mapping[str, str]) -> None:
        """Record a reference (pooled, local-only, ...) as a child run."""
        record = baseline_record(name, metrics, parameters=parameters)
        self._outbox.add(f"baseline:{clean_key(name)}:{_digest(record)}", record)

    def record_metrics(self, metrics: Mapping[str, float]) -> None:
        """Record final figures of the study."""
        record = figures_record(metrics)
        self._outbox.add(f"metrics:{_digest(record)}", record)

    def record_artefact(self, path: Path, *, folder: str = "") -> None:
        """Attach a file as it is now; a copy is kept until it is delivered.

        Args:
            path: The file.
            folder: Folder in the run, such as ``model``.

        Raises:
            InvalidInputError: If there is no such file, or the folder leads out of the run.
        """
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
            raise InvalidInputError(f"expected a folder inside the run, got {folder!r}")
        artefact = self._outbox.keep(path, folder=folder)
        name = str(PurePosixPath(folder) / artefact.name)
        self._outbox.add(f"artefact:{name}:{artefact.sha256}", RunRecord(artefact=artefact))

    def finish(self, status: RunStatus) -> None:
        """End the run, and wait a bounded time until what can be delivered is."""
        self._note_status(status)
        self._courier.call(self._outbox.folder)
        last = self._outbox.newest()
        deadline = self._clock() + self._patience
        while self._courier.is_working and self._clock() < deadline:
            if self.waiting == 0:
                return
            attempt = self._outbox.last_attempt(self._target)
            if attempt.failure and attempt.number >= last:
                break
            time.sleep(0.05)
        if waiting := self.waiting:
            _LOG.warning(
                "%d results wait for MLflow at %s; deliver them with: cohortium tracking deliver %s",
                waiting,
                self._target.uri,
                self._outbox.folder,
            )

    def _note_status(self, status: RunStatus | None) -> None:
        record = status_record(status)
        now = record.status or ""
        if self._outbox.fact("status") != now:
            self._outbox.add(f"status:{self._outbox.newest() + 1}", record)
            self._outbox.note_fact("status", now)


def _digest(record: RunRecord) -> str:
    return hashlib.sha256(record.model_dump_json().encode()).hexdigest()
