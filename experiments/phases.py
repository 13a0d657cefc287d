"""How long a simulation took, by phase: what is outside ``training`` and ``imports`` is what a user waits for beside it.

Phases nest, and each has its own time only: what an inner phase takes does not count for the one around it. Hospitals are drawn
and read by a copy of the process while it imports, and figures by another process: here is what was waited for.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from federation.documents import Document

PHASES_FILE: Final = "phases.json"
"""In a simulation's folder: a :class:`PhaseTimes` of its last run."""
PHASES: Final = ("imports", "settings", "preparation", "training", "references", "tracking", "report")
"""In the order of a run. ``imports`` has everything from the start of the process; ``references`` all other trainings."""

COLLECTIONS: Final = (100_000, 50, 100)
"""While libraries are imported: objects between two looks for rubbish, and how many looks to a longer one. Imports make a million
objects and hardly any rubbish; with Python's 700, a tenth of their time goes to looking."""

Seconds = Annotated[float, Field(ge=0)]
Clock = Callable[[], float]


class PhaseTimes(Document):
    """Seconds of one run."""

    format: Literal["cohortium/phase-times/1"] = "cohortium/phase-times/1"
    seconds: dict[str, Seconds]
    """By phase, as waited for."""
    processor_seconds: dict[str, Seconds]
    """By phase, of the main process, all of its threads."""
    beside: dict[str, Seconds] = Field(default_factory=dict)
    """What another process did during these phases: nobody waited for all of it."""

    @property
    def overhead(self) -> float:
        """Seconds outside training and imports."""
        return sum(taken for phase, taken in self.seconds.items() if phase not in {"imports", "training", "references"})

    def in_words(self) -> str:
        """One line for a reader."""
        shown = ", ".join(f"{phase} {taken:.1f}" for phase, taken in self.seconds.items() if taken >= 0.05)  # noqa: PLR2004
        return f"{sum(self.seconds.values()):.1f} s: {shown}"


class PhaseClock:
    """Measures phases.

    Args:
        clock: Seconds from any moment on.
        processor: Seconds that this process has computed.
        before: Seconds since the process started, which are counted as imports; 0 if it did something else before.
    """

    def __init__(
        self, *, clock: Clock = time.perf_counter, processor: Clock = time.process_time, before: float = 0.0
    ) -> None:
        self._clocks = (clock, processor)
        self._taken = {phase: [0.0, 0.0] for phase in PHASES}
        self._open: list[str] = []
        self._beside: dict[str, float] = {}
        self._since = [clock(), processor()]
        self._is_whole = before > 0
        self._taken["imports"] = [before, processor() if before else 0.0]

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Whatever happens inside the block is this phase's, but for phases inside it."""
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    @contextlib.contextmanager
    def importing(self) -> Generator[None]:
        """The phase ``imports``. Python looks for rubbish seldom in it, and as before after it.

        In a process that does nothing else, what is there then is not looked through again.
        """
        before = gc.get_threshold()
        gc.set_threshold(*COLLECTIONS)
        try:
            with self.phase("imports"):
                yield
        finally:
            gc.set_threshold(*before)
            if self._is_whole:
                gc.freeze()  # modules stay: a look through a million objects of theirs takes an eighth of a second, for nothing

    def note_beside(self, name: str, seconds: float) -> None:
        """What another process did while phases of this one went on."""
        self._beside[name] = self._beside.get(name, 0.0) + seconds

    def _switch(self) -> None:
        now = [clock() for clock in self._clocks]
        if self._open:
            taken = self._taken[self._open[-1]]
            for place, (then, later) in enumerate(zip(self._since, now, strict=True)):
                taken[place] += later - then
        self._since = now

    def times(self) -> PhaseTimes:
        """Of all phases that are closed, and of open ones until now."""
        self._switch()
        return PhaseTimes(
            seconds={phase: taken[0] for phase, taken in self._taken.items()},
            processor_seconds={phase: taken[1] for phase, taken in self._taken.items()},
            beside=dict(self._beside),
        )


def seconds_since_start() -> float:
    """Since this process started, to a hundredth of a second; 0 where the system does not say (Linux does)."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
