"""Where the seconds of a whole ``cohortium simulate`` go: imports, training, and everything else.

Hospitals are drawn and read while libraries are imported, so phases alone could hide what one costs the other. What counts is the
whole process, less its training, less a process that imports the same modules and ends.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from experiments.benchmarks.records import Figure
from experiments.phases import COLLECTIONS, PHASES_FILE, PhaseTimes
from federation.errors import InternalError

OVERHEAD: Final = "whole_simulation_overhead"
_LONGEST_SECONDS: Final = 1800.0
_LIST: Final = """
import sys
from experiments.main import run
code = run(sys.argv[2:])
names = [name for name, module in sys.modules.items() if getattr(module, "__spec__", None)]
open(sys.argv[1], "w").write("\\n".join(names))
sys.exit(code)
"""
_IMPORT: Final = f"""
import contextlib, gc, importlib, os, sys
gc.set_threshold(*{COLLECTIONS})
for name in open(sys.argv[1]).read().split():
    with contextlib.suppress(Exception):
        importlib.import_module(name)
sys.stdout.flush()
os._exit(0)
"""
"""Looks for rubbish as seldom as the command does, and ends as it does."""


@contextlib.contextmanager
def compiled(folder: Path) -> Generator[None]:
    """Processes that are started in the block, of all ways, find compiled bytecode after their first run, as when installed."""
    changed = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder), "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass
class Simulation:
    """A command that simulates, and the phases of its runs so far."""

    command: list[str]
    times: list[PhaseTimes] = field(default_factory=list[PhaseTimes])

    def whole(self) -> float:
        """Seconds of one run, from the start of its process to its end."""
        with tempfile.TemporaryDirectory(prefix="cohortium-bench-") as output:
            took = _timed([*self.command, "--quiet", "--output", output])
            self.times.append(PhaseTimes.from_json((Path(output) / PHASES_FILE).read_bytes()))
        return took


def modules_of(command: Sequence[str], folder: Path) -> Path:
    """A file with the names of all modules that a run of the command imports, in their order; not those of its copies."""
    listed = folder / "modules.txt"
    with tempfile.TemporaryDirectory(prefix="cohortium-bench-") as output:
        words = [*command[1:], "--quiet", "--output", output]
        _timed([sys.executable, "-c", _LIST, str(listed), *words])
    return listed


def import_only(modules: Path) -> float:
    """Seconds of a process that imports these modules and ends."""
    return _timed([sys.executable, "-c", _IMPORT, str(modules)])


def phase_figures(whole: Sequence[float], imports: Sequence[float], times: Sequence[PhaseTimes]) -> list[Figure]:
    """Medians over the turns.

    Args:
        whole: Seconds of the whole process, by turn.
        imports: Of the process that only imports.
        times: Phases of the whole process.
    """
    training = [entry.seconds["training"] for entry in times]
    rest = [max(0.0, all_ - some - step) for all_, some, step in zip(whole, imports, training, strict=True)]
    values = {
        "whole_simulation_waited": (
            "seconds that it waits for anything but training and imports, as it says itself",
            [entry.overhead for entry in times],
        ),
        OVERHEAD: ("a whole `cohortium simulate` of 10 hospitals outside training and imports", rest),
        "whole_simulation_imports": ("a process that imports the same modules and ends", imports),
        "whole_simulation_training": ("its 20 rounds", training),
    }
    for phase in ("settings", "preparation", "tracking", "report"):
        words = f"in which its main thread waits for {phase}"
        values[f"whole_simulation_waits_{phase}"] = (words, [entry.seconds[phase] for entry in times])
    drawing = [entry.beside.get("preparation", 0.0) for entry in times]
    values["whole_simulation_beside_preparation"] = ("drawing, writing and reading hospitals, beside imports", drawing)
    return [
        Figure(name=name, question=question, value=statistics.median(found), unit="s")
        for name, (question, found) in values.items()
    ]


def _timed(words: Sequence[str]) -> float:
    """Seconds."""
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own words
        words, capture_output=True, text=True, timeout=_LONGEST_SECONDS, check=False
    )
    took = time.perf_counter() - started
    if done.returncode != 0:
        raise InternalError(f"expected {words[0]} to finish, it ended with {done.returncode}: {done.stderr[-500:]}")
    return took
