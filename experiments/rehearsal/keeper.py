"""Every process of a rehearsing consortium by name, and what a machine's init does about the supervising ones: start them again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from conf.processes.supervisor import PROCESSES_FILE
from experiments.rehearsal.consortium import Rehearsal

_RESTART_SECONDS: Final = 1.0
SUPERVISOR: Final = "supervisor"
COORDINATOR: Final = "coordinator"


@dataclass
class _Kept:
    process: subprocess.Popen[bytes]
    start: Callable[[], subprocess.Popen[bytes]]
    logs: Path
    """Folder of the logs of what it supervises."""
    ended_at: float | None = None


@dataclass
class Keeper:
    """Keeps the supervising processes of a consortium running, as systemd does with ``Restart=always``.

    Args:
        rehearsal: Enrolled, with a proposal that is approved; nothing runs yet.
    """

    rehearsal: Rehearsal
    _kept: dict[str, _Kept] = field(default_factory=dict[str, _Kept])
    unasked: list[str] = field(default_factory=list[str])
    """Ends of supervising processes that nobody had killed."""

    def keep(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Keep what was started for a party.

        Args:
            name: ``host``, or a site.
            process: The supervising process.
        """
        own = self.rehearsal
        if name == "host":
            self._kept[name] = _Kept(process, own.start_host, own.folder / "aggregator" / "logs")
        else:
            self._kept[name] = _Kept(process, lambda: own.start_site(name), own.sites_home(name) / "logs")

    def look_after(self) -> None:
        """Start again what has ended."""
        for name, kept in self._kept.items():
            code = kept.process.poll()
            if code is None:
                continue
            if kept.ended_at is None:
                kept.ended_at = time.monotonic()
                if code != -signal.SIGKILL:
                    self.unasked.append(f"{name} {SUPERVISOR} ended with {code}")
            elif time.monotonic() - kept.ended_at > _RESTART_SECONDS:
                kept.process, kept.ended_at = kept.start(), None

    def wait(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, and look after the processes meanwhile.

        Args:
            seconds: At most.
            until: What ends the wait.

        Returns:
            Whether ``until`` came true.
        """
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, 0.05))
            self.look_after()
        return True

    def processes(self) -> dict[str, int]:
        """Numbers of the processes that run, by name: ``host gate``, ``hospital-01 agent``."""
        found: dict[str, int] = {}
        for name, kept in self._kept.items():
            if kept.process.poll() is not None:
                continue  # what it supervised is ending; its file is old
            found[f"{name} {SUPERVISOR}"] = kept.process.pid
            for child, number in _published(kept.logs).items():
                if _is_child_of(number, kept.process.pid):
                    found[f"{name} {COORDINATOR if child.startswith(COORDINATOR) else child}"] = number
        return found

    def names(self) -> tuple[str, ...]:
        """Of all processes that there should be while a study runs."""
        host = ("superlink", "gate", "mlflow", COORDINATOR)
        children = {name: host if name == "host" else ("agent", "gateway") for name in self._kept}
        return tuple(f"{name} {child}" for name in self._kept for child in (SUPERVISOR, *children[name]))

    def dump(self) -> None:
        """Let every process write its stacks into its log."""
        for number in self.processes().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGUSR1)


def _published(logs: Path) -> dict[str, int]:
    try:
        return json.loads((logs / PROCESSES_FILE).read_text())
    except (OSError, ValueError):
        return {}


def _is_child_of(number: int, parent: int) -> bool:
    """Whether a process runs as the child of another: a number in an old file may be anybody's by now."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and int(fields[1]) == parent
