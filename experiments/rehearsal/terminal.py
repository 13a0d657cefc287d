"""Runs ``cohortium`` as people do: one command after another, each in a process of its own, printed before it runs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from federation.errors import StudyError


@dataclass
class Terminal:
    """One person's terminal.

    Args:
        who: Shown before each command, such as ``site cleveland``.
        folder: Where commands run and files lie.
        environment: What that person has set, such as ``COHORTIUM_SITE``.
        console: Where commands are shown.
        prefix: Of every command: what puts it into a network of its own, such as ``ip netns exec NAME``.
    """

    who: str
    folder: Path
    environment: Mapping[str, str]
    console: Console
    prefix: tuple[str, ...] = ()
    _background: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def run(self, *words: str, allowed: tuple[int, ...] = (0,)) -> str:
        """Run one command to its end.

        Args:
            words: After ``cohortium``.
            allowed: Exit codes that are no failure.

        Returns:
            What it printed.

        Raises:
            StudyError: If it ends with another code; the message holds its last words.
        """
        self._show(words)
        code, out, err = self.ended(words)
        if code not in allowed:
            said = (err or out).strip()[-2000:]
            raise StudyError(
                f"expected `cohortium {shlex.join(words)}` of {self.who} to succeed, it ended with {code}: {said}"
            )
        return out

    def ended(self, words: tuple[str, ...]) -> tuple[int, str, str]:
        """Run one command to its end: exit code, and what it printed as output and as error."""
        found = subprocess.run(  # noqa: S603 - our own interpreter and our own commands
            self._command(words), cwd=self.folder, env=self._environment(), capture_output=True, text=True, check=False
        )
        return found.returncode, found.stdout, found.stderr

    def ask(self, *words: str, allowed: tuple[int, ...] = (0,)) -> Any:  # noqa: ANN401 - whatever the command prints
        """Run one command with ``--json``, and return what it printed as data."""
        return json.loads(self.run(*words, "--json", allowed=allowed))

    def start(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command that stays in the foreground of a terminal of its own."""
        self._show(words)
        with log.open("ab") as stream:
            process = subprocess.Popen(  # noqa: S603 - as above
                self._command(words),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._background.append(process)
        return process

    @property
    def runs(self) -> bool:
        """Whether anything that was started here runs."""
        return any(process.poll() is None for process in self._background)

    def close(self) -> None:
        """End what was started, however it is."""
        for process in self._background:
            if process.poll() is None:
                process.terminate()
        for process in self._background:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._background.clear()

    def _show(self, words: tuple[str, ...]) -> None:
        line = Text(f"{self.who:>22}  ", style="bold cyan")
        line.append(f"cohortium {shlex.join(words)}", style="default")
        self.console.print(line, soft_wrap=True)

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "experiments.main", *words]

    def _environment(self) -> dict[str, str]:
        # The package that runs this one, whatever folder the command runs in.
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        return dict(os.environ) | {"PYTHONPATH": path, "NO_COLOR": "1"} | dict(self.environment)


def wait_for(
    what: str, holds: Callable[[], bool], *, seconds: float, alive: Callable[[], bool], every: float = 0.5
) -> None:
    """Wait until something holds.

    Args:
        what: For the message.
        holds: Whether it has come true.
        seconds: At most.
        alive: Whether it can still come true.
        every: Seconds between two questions.

    Raises:
        StudyError: If it does not come true in time, or cannot any more.
    """
    end = time.monotonic() + seconds
    while not holds():
        if not alive():
            raise StudyError(f"expected {what}, processes that it needs have ended")
        if time.monotonic() > end:
            raise StudyError(f"expected {what} within {seconds:.0f} s, it did not happen")
        time.sleep(every)
