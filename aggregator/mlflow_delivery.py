"""From the outbox to MLflow: at least once on the wire, exactly once in the result.

A repeat changes nothing, because everything sent carries its identity: a run is found by its tag ``cohortium.run_key`` before
it is made, a metric's point is (key, step, time of recording, value), which MLflow's stores hold once [mlflow 3.17
store/tracking/dbmodels/models.py, ``metric_pk``], parameters and tags are set to the value they have, and an artefact overwrites
itself. This module is the home of mlflow, which is imported when something is delivered, and runs in a process of its own
(:mod:`aggregator.delivery_process`) while a study trains.
"""

from __future__ import annotations

import fcntl
import logging
import os
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggregator.outbox import Event, Outbox
from aggregator.run_records import RunRecord
from aggregator.tracking import TrackingTarget
from federation.errors import MissingDependencyError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUN_KEY_TAG: Final = "cohortium.run_key"
PARENT_TAG: Final = "mlflow.parentRunId"
_EVENTS_AT_ONCE: Final = 200

HARDENED: Final[Mapping[str, str]] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Set before MLflow is imported, whatever the environment says."""

_PATIENCE: Final[Mapping[str, str]] = {
    # MLflow would repeat a POST itself, and so could make a run twice; we look for the run before every try of ours.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""The same, unless the environment says otherwise."""


@dataclass(frozen=True)
class Delivery:
    """What one try came to.

    Args:
        delivered: Events that the target took in this try.
        waiting: Events that still wait.
        failure: Why it ended early; empty if it did not.
    """

    delivered: int
    waiting: int
    failure: str = ""


def deliver(outbox: Outbox, target: TrackingTarget) -> Delivery:
    """Send what waits for ``target``, oldest first. Never raises because the target is down.

    Raises:
        MissingDependencyError: If mlflow is not installed.
        CheckpointError: If the outbox is damaged.
    """
    require_mlflow()
    before = outbox.counts(target)
    if target.kind == "none" or before.waiting == 0:
        return Delivery(delivered=0, waiting=0)
    newest, failure = outbox.newest(), ""
    with outbox.delivering() as is_ours:
        if not is_ours:
            return Delivery(delivered=0, waiting=before.waiting, failure="another process is delivering")
        try:
            _send_all(outbox, target)
        except Exception as problem:  # noqa: BLE001 - whatever a client raises, the events wait for the next try
            failure = _describe(problem)
        outbox.note_attempt(target, number=newest, failure=failure)
    after = outbox.counts(target)
    return Delivery(delivered=max(0, after.delivered - before.delivered), waiting=after.waiting, failure=failure)


def require_mlflow() -> None:
    """Raise MissingDependencyError if mlflow is not installed. Does not import it."""
    if find_spec("mlflow") is None:
        raise MissingDependencyError(
            "expected the package 'mlflow', it is not installed",
            remedy="pip install 'cohortium[aggregator]', or go without: tracking=none",
        )


def _send_all(outbox: Outbox, target: TrackingTarget) -> None:
    with connected(target) as client:
        session = _Session(client, outbox, target, experiment_of(client, target))
        session.find_study_run()
        while events := outbox.pending(target, limit=_EVENTS_AT_ONCE):
            for group in _groups(events):
                session.send(group)


@contextmanager
def connected(target: TrackingTarget) -> Generator[MlflowClient]:
    """A client. A new database is filled with tables, which takes seconds; processes take turns at that."""
    os.environ.update(HARDENED)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # Deprecations inside MLflow and what it imports are not news to the reader of a study's log.
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        if target.kind == "sqlite":
            target.database.parent.mkdir(parents=True, exist_ok=True)
            with target.database.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                client = MlflowClient(tracking_uri=target.uri)
                client.search_experiments(max_results=1)
        else:
            client = MlflowClient(tracking_uri=target.uri)
        yield client


def experiment_of(client: MlflowClient, target: TrackingTarget) -> str:
    """The target's name of the experiment, made if it is absent."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(target.experiment):
        return found.experiment_id
    location = Path(target.artefacts).as_uri() if target.artefacts else None
    try:
        return client.create_experiment(target.experiment, artifact_location=location)
    except MlflowException:
        if found := client.get_experiment_by_name(target.experiment):  # somebody else was faster
            return found.experiment_id
        raise


def _groups(events: Iterable[Event]) -> Generator[list[Event]]:
    """Divide events into those that go in one batch: of one run, with a file or a change of status only at the end."""
    group: list[Event] = []
    for event in events:
        if group and (group[-1].record.child != event.record.child or _closes(group[-1].record)):
            yield group
            group = []
        group.append(event)
    if group:
        yield group


def _closes(record: RunRecord) -> bool:
    return record.artefact is not None or record.status is not None


@dataclass
class _Session:
    """One try's view of the target."""

    client: MlflowClient
    outbox: Outbox
    target: TrackingTarget
    experiment: str
    _runs: dict[str, str] = field(default_factory=dict[str, str])

    def find_study_run(self) -> None:
        """Look for the study's run; if the target lost it, everything waits again."""
        run = self._find(self.outbox.fact("run_key"))
        if run is not None:
            self._runs[""] = run
        elif self.outbox.counts(self.target).delivered:
            self.outbox.forget(self.target, only_refused=False)

    def send(self, group: Sequence[Event]) -> None:
        """Send one group and mark it. What is refused for good is set aside with the reason, alone."""
        from mlflow.exceptions import MlflowException

        artefact = group[-1].record.artefact
        if artefact and not self.outbox.copy_of(artefact).is_file():
            self.outbox.mark(group[-1:], self.target, refused="the kept copy of the file is missing")
            group = group[:-1]
        if not group:
            return
        run = self._run(group[0])
        try:
            self._send(run, group)
        except MlflowException as problem:
            if problem.error_code != "INVALID_PARAMETER_VALUE":
                raise  # it is down, or does not let us in: everything waits
            if len(group) == 1:
                self.outbox.mark(group, self.target, refused=_describe(problem))
            else:
                for event in group:
                    self.send([event])
        else:
            self.outbox.mark(group, self.target)

    def _send(self, run: str, group: Sequence[Event]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        parameters: dict[str, str] = {}
        tags: dict[str, str] = {}
        metrics: list[Metric] = []
        for event in group:
            parameters |= event.record.parameters
            tags |= event.record.tags
            metrics += [
                Metric(key, value, event.recorded_ms, event.record.step) for key, value in event.record.metrics.items()
            ]
        self.client.log_batch(  # divides what is too long for one request
            run,
            metrics=metrics,
            params=[Param(key, value) for key, value in parameters.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        last = group[-1]
        if artefact := last.record.artefact:
            self.client.log_artifact(run, str(self.outbox.copy_of(artefact)), artefact.folder or None)
        if status := last.record.status:
            self._set_status(run, status, last.recorded_ms)

    def _set_status(self, run: str, status: str, moment: int) -> None:
        if status == "RUNNING":
            self.client.update_run(run, status=status)
        else:
            self.client.set_terminated(run, status=status, end_time=moment)

    def _run(self, event: Event) -> str:
        """The target's name of the event's run: known, found by tag, or made now."""
        child = event.record.child
        if child not in self._runs:
            key = self.outbox.fact("run_key") + (f"/{child}" if child else "")
            self._runs[child] = self._find(key) or self._create(key, event)
        return self._runs[child]

    def _find(self, key: str) -> str | None:
        found = self.client.search_runs(
            [self.experiment], filter_string=f"tags.`{RUN_KEY_TAG}` = '{key}'", max_results=10
        )
        names = [run.info.run_id for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))]
        if not names:
            return None
        noted = self.outbox.run_of(self.target, key)
        chosen = noted if noted in names else names[0]
        if chosen != noted:
            self.outbox.note_run(self.target, key, chosen)
        return chosen

    def _create(self, key: str, event: Event) -> str:
        tags = {RUN_KEY_TAG: key} | ({PARENT_TAG: self._runs[""]} if event.record.child else {})
        run = self.client.create_run(
            self.experiment, start_time=event.recorded_ms, tags=tags, run_name=event.record.name or None
        )
        name = str(run.info.run_id)
        self.outbox.note_run(self.target, key, name)
        return name


def _describe(problem: BaseException) -> str:
    """Names of errors from the outermost to the cause. Not their texts: those may repeat headers or values."""
    names: list[str] = []
    current: BaseException | None = problem
    while current is not None and len(names) < 4:  # noqa: PLR2004
        names.append(" ".join(filter(None, (type(current).__name__, str(getattr(current, "error_code", ""))))))
        current = current.__cause__ or current.__context__
    return " from ".join(dict.fromkeys(names))
