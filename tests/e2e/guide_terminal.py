"""A little world for the guides: one loopback network, and for each person a machine of their own to type at.

A machine here is a mount namespace with its own ``/etc`` (accounts, names), ``/root``, ``/srv`` and ``/opt/cohortium``; all
machines share one network and one process namespace, which end with the world. Nothing of the real machine is changed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.architecture.source_tree import ROOT

_SETTLE = """
set -e
for name in etc srv root; do mkdir -p "$DESK/$name"; done
mount -t tmpfs tmpfs "$DESK/etc"
cp -a /etc/. "$DESK/etc"
echo "127.0.0.1 gate.example.org" >> "$DESK/etc/hosts"
if [ -n "$OF_ROOT" ]; then
  mkdir "$DESK/root/$OF_ROOT"
  mount --bind "/root/$OF_ROOT" "$DESK/root/$OF_ROOT"
fi
for name in etc srv root; do mount --rbind "$DESK/$name" /$name; done
mount -t tmpfs -o mode=0755 tmpfs /opt
mkdir /opt/cohortium
mount --bind "$CHECKOUT" /opt/cohortium
cd /root
export HOME=/root
unset DESK CHECKOUT OF_ROOT
exec bash --noprofile --norc
"""
_LEFT_OUT = ("COHORTIUM_", "PYTEST_", "VIRTUAL_ENV", "HTTPS_PROXY", "https_proxy")


@dataclass(frozen=True)
class Typed:
    """What came of a command.

    Args:
        code: Its exit code.
        output: What it printed, errors included.
    """

    code: int
    output: str


class World:
    """The network and the processes of all machines. A context manager: at its end nothing of it is left."""

    def __enter__(self) -> Self:
        # bash as the first process: it takes in what is orphaned, so that an ended process is not seen as a living one.
        script = "ip link set lo up && echo up && while :; do sleep 3600 & wait $!; done"
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "up\n"
        self._shells: list[subprocess.Popen[str]] = []
        # The namespaces are those of unshare's child.
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self.first_process = int(children.split()[0])
        return self

    def __exit__(self, *_: object) -> None:
        for shell in (*self._shells, self._process):
            shell.kill()
            shell.communicate()

    def ends(self, shell: subprocess.Popen[str]) -> None:
        """A shell ends with the world."""
        self._shells.append(shell)


def world_is_possible() -> bool:
    """Whether this account may make such a world."""
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False
    )  # fmt: skip
    return os.geteuid() == 0 and tried.returncode == 0


class Terminal:
    """One person's shell, at a machine of its own.

    Args:
        world: Where.
        desk: Empty folder: its ``root`` and ``srv`` are the machine's.
    """

    def __init__(self, world: World, desk: Path) -> None:
        desk.mkdir(parents=True)
        self.desk, self._logs, self._typed = desk, desk / "logs", 0
        self._logs.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
        words = ["nsenter", "--target", str(world.first_process), "--net", "--pid", "--mount"]
        python = Path(sys.executable).resolve()
        # Where Python lies below /root, which other accounts may not pass, the new /root shows it and nothing else.
        of_root = python.relative_to("/root").parts[0] if python.is_relative_to("/root") else ""
        self._shell = subprocess.Popen(
            [*words, "unshare", "--mount", "bash", "-c", _SETTLE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env=kept | {"DESK": str(desk), "CHECKOUT": str(ROOT), "OF_ROOT": of_root, "COLUMNS": "200", "NO_COLOR": "1"},
        )  # fmt: skip
        world.ends(self._shell)

    def type(self, command: str, *, seconds: float, background: bool = False) -> Typed:
        """Type a command, and wait for its end unless it is one that stays.

        Args:
            command: One line.
            seconds: It must end within.
            background: Whether it stays in the foreground of a terminal of its own.
        """
        self._typed += 1
        log = self._logs / f"{self._typed:03}.txt"
        if background:
            line = f"{{ {command}\n}} </dev/null >{log} 2>&1 &\necho done $?\n"
        else:
            line = f"{{ {command}\n}} </dev/null >{log} 2>&1\necho done $?\n"
        assert self._shell.stdin is not None
        self._shell.stdin.write(line)
        self._shell.stdin.flush()
        return Typed(self._answer(command, seconds), log.read_text(errors="replace") if log.exists() else "")

    def _answer(self, command: str, seconds: float) -> int:
        assert self._shell.stdout is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self._shell.stdout], [], [], 1)[0]:
                words = self._shell.stdout.readline().split()
                assert words, f"the shell ended with: {command}"
                if words[0] == "done":
                    return int(words[1])
        message = f"expected `{command}` to end within {seconds:.0f} s"
        raise AssertionError(message)

    def everything_said(self) -> str:
        """The last words of every command, for a failure."""
        return "\n".join(
            f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in sorted(self._logs.iterdir())
        )
