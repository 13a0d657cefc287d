"""A process of its own that delivers outboxes while a study trains.

Importing MLflow takes seconds and filling a new database more: done in a thread, both would hold back a round, change the filters
for warnings and the logging of the study, and share its fate. The process is told folders on its standard input, looks into
each outbox now and then, and ends after a last try when the input ends, that is when the study's process ended or was killed.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol, TextIO

from aggregator.mlflow_delivery import HARDENED, Delivery, deliver, require_mlflow
from aggregator.outbox import Outbox
from aggregator.tracking import TrackingTarget
from federation.errors import CohortiumError

_LOOK_EVERY: Final = 0.5
_LONGEST_PAUSE: Final = 60.0


class Courier(Protocol):
    """Delivers an outbox in the background."""

    def call(self, folder: Path) -> None:
        """Look after the outbox in ``folder`` from now on. Returns at once; calling twice is calling once."""
        ...

    @property
    def is_working(self) -> bool:
        """Whether anything can still be expected of it."""
        ...


class NoCourier:
    """Delivers nothing: events wait for ``cohortium tracking deliver``."""

    is_working = False

    def call(self, folder: Path) -> None:
        """Do nothing."""


class DeliveryProcess:
    """The process, seen from the study. Started when it is first called.

    Raises:
        MissingDependencyError: If mlflow is not installed.
    """

    def __init__(self) -> None:
        require_mlflow()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def call(self, folder: Path) -> None:
        """Name a folder to the process; start it if it does not run."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self.close()
                self._process = _start()
            if self._process.stdin is not None:
                # If it was killed this moment, nothing is lost: the outbox waits for the next call or command.
                with suppress(OSError):
                    self._process.stdin.write(json.dumps(str(folder.resolve())).encode() + b"\n")

    @property
    def is_working(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def close(self, *, patience: float = 0.0) -> None:
        """Let the process end after its last try, and wait for that at most ``patience`` seconds."""
        if self._process is None or self._process.stdin is None:
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            self._process.stdin.close()
            if patience:
                self._process.wait(patience)


@cache
def shared_process() -> DeliveryProcess:
    """One process for all trackers of this one, so that MLflow is imported once."""
    process = DeliveryProcess()
    atexit.register(process.close)
    return process


def _start() -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parent.parent)
    search_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    return subprocess.Popen(
        [sys.executable, "-m", "aggregator.delivery_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # what went wrong is noted in the outbox
        env=os.environ | dict(HARDENED) | {"PYTHONPATH": search_path, "PYTHONWARNINGS": "ignore"},
        start_new_session=True,  # Ctrl-C stops the study; what it finished is still delivered
        bufsize=0,
    )


@dataclass
class _Visit:
    """When a folder is looked at next."""

    due: float = 0.0
    failures: int = 0
    seen: int = -1
    """Newest event at the last try."""


def serve(
    requests: TextIO,
    *,
    deliver: Callable[[Outbox, TrackingTarget], Delivery] = deliver,
    clock: Callable[[], float] = time.monotonic,
    look_every: float = _LOOK_EVERY,
) -> None:
    """Deliver the outboxes in the folders that ``requests`` names, until it ends; then try each once more.

    Args:
        requests: One JSON string per line: a folder.
        deliver: Delivers what waits in one outbox.
        clock: Seconds.
        look_every: Seconds between looks into the outboxes.
    """
    named: queue.Queue[Path | None] = queue.Queue()
    threading.Thread(target=_read, args=(requests, named), daemon=True).start()
    visits: dict[Path, _Visit] = {}
    wait = look_every
    while True:
        try:
            folder = named.get(timeout=wait)
        except queue.Empty:
            wait = look_every
        else:
            if folder is None:
                for remaining in visits:
                    _visit(remaining, _Visit(), deliver, now=clock())
                return
            visits[folder] = _Visit()
            wait = 0.0  # several names at once are read before any of them is served, and no other is waited for
            continue
        visits = {folder: visit for folder, visit in visits.items() if _visit(folder, visit, deliver, now=clock())}


def _read(requests: TextIO, named: queue.Queue[Path | None]) -> None:
    for line in requests:
        named.put(Path(json.loads(line)))
    named.put(None)


def _visit(folder: Path, visit: _Visit, deliver: Callable[[Outbox, TrackingTarget], Delivery], *, now: float) -> bool:
    """Look into one outbox, deliver if it is time.

    Returns:
        Whether to come again: not if the run is over and everything arrived, nor if the outbox is gone or damaged.
    """
    try:
        outbox = Outbox(folder)
        target = outbox.target
        if target is None:
            return True
        if outbox.counts(target).waiting == 0:
            return outbox.fact("status") == "RUNNING"
        newest = outbox.newest()
        is_urgent = newest != visit.seen and outbox.fact("status") != "RUNNING"
        if now >= visit.due or is_urgent:
            visit.seen = newest
            _note(visit, deliver(outbox, target), now=now)
    except CohortiumError:
        return False
    except OSError:
        _note(visit, Delivery(delivered=0, waiting=0, failure="the folder cannot be used"), now=now)
    return True


def _note(visit: _Visit, delivery: Delivery, *, now: float) -> None:
    visit.failures = visit.failures + 1 if delivery.failure else 0
    pause = min(_LONGEST_PAUSE, 2.0 ** (visit.failures - 1)) if delivery.failure else 0.0
    visit.due = now + pause


if __name__ == "__main__":
    os.nice(10)  # rounds first
    serve(sys.stdin)
