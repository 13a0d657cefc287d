"""Taking a way in a process of its own, and what became of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from experiments.benchmarks import peer_environment
from experiments.benchmarks.records import Skipped
from experiments.benchmarks.ways.given import Finished, Missing
from federation.errors import InvalidInputError

_LONGEST_SECONDS: Final = 1800.0
_SHOWN: Final = 300


@dataclass(frozen=True)
class WayRun:
    """One run of a way.

    Args:
        finished: What it says of itself.
        process_seconds: From the start of its process to its end, imports and reading included.
    """

    finished: Finished
    process_seconds: float


def take_way(way: str, folder: Path, *, threads: int, seconds: float = _LONGEST_SECONDS) -> WayRun | Skipped:
    """Take a way once.

    Args:
        way: See :mod:`experiments.benchmarks.ways.__main__`.
        folder: Holds the work.
        threads: Of a tensor operation in its main process.
        seconds: How long it may take.

    Returns:
        What it measured, or why it could not be taken.
    """
    python = sys.executable
    if way == "pfl":
        if not peer_environment.PYTHON.exists():
            return Skipped(name=way, reason=f"no environment for it; {peer_environment.COMMAND} makes one")
        python = str(peer_environment.PYTHON)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(peer_environment.ROOT)}
    started = time.perf_counter()
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            [python, "-m", "experiments.benchmarks.ways", way, str(folder)],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Skipped(name=way, reason=f"did not finish within {seconds:g} s")
    took = time.perf_counter() - started
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing on stderr"]
        return Skipped(name=way, reason=f"ended with {done.returncode}: {said[0][:_SHOWN]}")
    return _read(way, done.stdout.strip().splitlines()[-1:], took)


def _read(way: str, last: list[str], took: float) -> WayRun | Skipped:
    text = last[0] if last else ""
    try:
        return Skipped(name=way, reason=Missing.from_json(text, error=InvalidInputError).missing)
    except InvalidInputError:
        pass
    try:
        return WayRun(finished=Finished.from_json(text, error=InvalidInputError), process_seconds=took)
    except InvalidInputError:
        return Skipped(name=way, reason=f"expected a result as JSON, got {text[:_SHOWN]!r}")
