"""Supervised child processes: started and waited for, restarted when they die, gone when the supervisor is gone."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from federation.durable_files import write_durably
from federation.errors import TransportError

_LOG: Final = logging.getLogger("cohortium.supervisor")
_WATCH_SECONDS: Final = 0.1
_LEAVE_SECONDS: Final = 3.0
_FIRST_BACKOFF_SECONDS: Final = 0.2
_LONGEST_BACKOFF_SECONDS: Final = 10.0
_SETTLED_SECONDS: Final = 30.0
PROCESSES_FILE: Final = "processes.json"


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Program:
    """What to run, and how to see that it is ready.

    Args:
        name: Unique among the programs of a supervisor; names the log.
        entry: ``module:function``, started by :mod:`conf.processes.child`.
        arguments: Its command line.
        ready: Whether it answers.
        prefix: A command that becomes the program after it has changed what the program may do, such as ``setpriv``; it must not
            start another process.
        over: Whether its work is done: then it is not started again after it ended.
        environment: Its own, in place of the supervisor's: what one program knows, another may not.
    """

    name: str
    entry: str
    arguments: tuple[str, ...]
    ready: Callable[[], bool]
    prefix: tuple[str, ...] = ()
    over: Callable[[], bool] = _never
    environment: Mapping[str, str] | None = None


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    has_failed: bool = False
    """It ended by itself once, and was not killed: it may not be able to start at all."""
    restart_at: float = 0.0
    restarts: int = 0


@dataclass(frozen=True)
class ProgramState:
    """How one program is, at this moment.

    Args:
        process: Its number, 0 if it does not run.
        restarts: How often it was started again.
        over: Its work is done.
    """

    process: int
    restarts: int
    over: bool


@dataclass
class Supervisor:
    """Runs programs until it is closed.

    Args:
        folder: Of the logs and of ``processes.json``, which says which process is which.
        environment: Of all programs.
        start_seconds: How long a program may take to become ready.
    """

    folder: Path
    environment: Mapping[str, str]
    start_seconds: float = 120.0
    _running: dict[str, _Running] = field(default_factory=dict[str, _Running])
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def log_of(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.folder / f"{name}.log"

    def start(self, programs: Iterable[Program]) -> None:
        """Start programs side by side, without waiting until they are ready."""
        with self._lock:
            for program in programs:
                self._running[program.name] = _Running(program, self._spawned(program), time.monotonic())
            self._publish()

    def wait_until_ready(self, names: Iterable[str], *, may_die: bool = False) -> None:
        """Wait until programs answer.

        Args:
            names: Of the programs.
            may_die: Wait for a restart instead of giving up when one ends by itself. One that is killed is waited for in any case.

        Raises:
            TransportError: If one ends before, or does not answer in time; the message names its log.
        """
        end = time.monotonic() + self.start_seconds
        for name in names:
            running = self._running[name]
            while not running.program.ready():
                dead = running.has_failed and not may_die
                if dead or time.monotonic() > end:
                    outcome = "ended" if dead else f"did not answer within {self.start_seconds:.0f} s"
                    raise TransportError(
                        f"expected the process {name} to start, it {outcome}: {self._last_words(name)}",
                        remedy=f"see {self.log_of(name)}",
                    )
                time.sleep(_WATCH_SECONDS / 2)

    def states(self) -> dict[str, ProgramState]:
        """Every program by name."""
        with self._lock:
            return {
                name: ProgramState(
                    process=running.process.pid if running.process.poll() is None else 0,
                    restarts=running.restarts,
                    over=running.process.poll() is not None and running.program.over(),
                )
                for name, running in self._running.items()
            }

    def forget(self, name: str) -> None:
        """Forget a program that has ended for good, so that its name is free again."""
        with self._lock:
            running = self._running.get(name)
            if running is not None and running.process.poll() is not None:
                if running.process.stdin is not None:
                    running.process.stdin.close()
                del self._running[name]
                self._publish()

    def close(self) -> None:
        """End all programs. Safe to call twice."""
        self._closing.set()
        self._watcher.join()
        processes = [running.process for running in self._running.values()]
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()  # its watchdog ends it
        end = time.monotonic() + _LEAVE_SECONDS
        for process in processes:
            try:
                process.wait(max(end - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        (self.folder / PROCESSES_FILE).unlink(missing_ok=True)

    def _spawned(self, program: Program) -> subprocess.Popen[bytes]:
        command = [*program.prefix, sys.executable, "-m", "conf.processes.child", program.entry, *program.arguments]
        with self.log_of(program.name).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own interpreter and our own modules
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.environment if program.environment is None else program.environment),
                start_new_session=True,  # Ctrl-C reaches the supervisor only, which ends them in order
            )

    def _watch(self) -> None:
        while not self._closing.wait(_WATCH_SECONDS):
            with self._lock:
                for running in self._running.values():
                    self._look_after(running)

    def _look_after(self, running: _Running) -> None:
        now = time.monotonic()
        if running.process.poll() is None or running.program.over():
            return
        if running.restart_at == 0.0:
            settled = now - running.started > _SETTLED_SECONDS
            running.deaths = 1 if settled else running.deaths + 1
            running.has_failed = running.has_failed or running.process.returncode >= 0
            backoff = _FIRST_BACKOFF_SECONDS * 2 ** (running.deaths - 1)
            running.restart_at = now + min(backoff, _LONGEST_BACKOFF_SECONDS)
            name, code = running.program.name, running.process.returncode
            _LOG.warning("%s ended with %s and is started again; its log: %s", name, code, self.log_of(name))
        if now >= running.restart_at:
            if running.process.stdin is not None:
                running.process.stdin.close()
            running.process = self._spawned(running.program)
            running.started, running.restart_at = now, 0.0
            running.restarts += 1
            self._publish()

    def _publish(self) -> None:
        pids = {name: running.process.pid for name, running in self._running.items()}
        write_durably(self.folder / PROCESSES_FILE, json.dumps(pids, indent=1).encode())

    def _last_words(self, name: str) -> str:
        lines = self.log_of(name).read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"
