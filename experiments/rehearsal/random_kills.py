"""``python -m experiments.rehearsal.random_kills --kills 100``: SIGKILL for any process at any instant, and the study is the same.

One process after another of a rehearsing consortium, supervising ones included, is chosen at random and killed after a random time,
until as many were killed as asked for. Then the study must be finished, the model must be that of a simulation bit for bit, every
ledger must have the simulation's charges, each once, and all logs must hold. A study that ends too early is followed by another.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer
from numpy.random import Generator
from rich.console import Console

from aggregator.host.study_status import StudyStatus, read_status
from experiments.module_command import run_module
from experiments.rehearsal.closing import close_out
from experiments.rehearsal.consortium import Rehearsal
from experiments.rehearsal.keeper import COORDINATOR, Keeper
from experiments.rehearsal.records import synthetic
from experiments.rehearsal.warm_terminal import WarmTerminal
from federation.errors import StudyError
from federation.privacy.randomness import seeded_streams

_BACK_SECONDS: Final = 300.0
"""For a process that was killed to be there again."""
_STILL_SECONDS: Final = 420.0
"""Without any news of a study that nobody disturbs: it is stuck."""
_STACKS: Final = """
import faulthandler, signal
faulthandler.register(signal.SIGUSR1, all_threads=True)
"""
_AT_WORK: Final = 0.5
"""Share of the kills whose time begins when everything works again: the others may strike while processes start."""
_DUMP_SECONDS: Final = 2.0


def main(
    *,
    kills: Annotated[int, typer.Option(min=1, help="How many.", envvar="COHORTIUM_KILLS")] = 100,
    seed: Annotated[int, typer.Option(help="Of the choice of processes and times.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Of a study.")] = 25,
    most_seconds: Annotated[float, typer.Option(min=0.1, help="Between two kills, at most.")] = 8.0,
    folder: Annotated[Path | None, typer.Option(help="Kept there, if something fails. [a temporary one]")] = None,
) -> None:
    """Kill processes of a deployed study at random, and see that it ends as if nothing had happened."""
    started, console = time.monotonic(), Console(highlight=False, width=200)
    chance, killed = seeded_streams(seed, provenance="synthetic").stream("kills"), Counter[str]()
    console.print(f"{kills} kills, seed {seed}, {rounds} rounds a study, at most {most_seconds} s between two")
    os.umask(0o022)
    number = 0
    while killed.total() < kills:
        number += 1
        place = Path(tempfile.mkdtemp(prefix="cohortium-")) if folder is None else folder / str(number)
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)
        _with_stacks(place / "stacks")
        records = synthetic(place / "records")
        rehearsal = Rehearsal(place / "consortium", records, rounds, console, terminal=WarmTerminal)
        disturbed = DisturbedStudy(rehearsal, chance)
        killed += disturbed.run(most=kills - killed.total(), most_seconds=most_seconds, first=killed.total() + 1)
        shutil.rmtree(place)
    for name, times in sorted(killed.items()):
        console.print(f"{times:>4}  {name}")
    console.print(
        f"{killed.total()} kills over {number} studies in {time.monotonic() - started:.0f} s: every study finished, every model "
        "is the simulated one, every ledger has each charge once, every log and ledger holds"
    )


class DisturbedStudy:
    """One study of a new consortium.

    Args:
        rehearsal: Nothing was done yet.
        chance: Chooses.
    """

    def __init__(self, rehearsal: Rehearsal, chance: Generator) -> None:
        self._rehearsal = rehearsal
        self._chance = chance
        self._keeper = Keeper(rehearsal)
        self._killed: Counter[str] = Counter()

    def run(self, *, most: int, most_seconds: float, first: int = 1) -> Counter[str]:
        """From an empty folder to the last check.

        Args:
            most: Kills.
            most_seconds: Between two of them.
            first: Number of the first kill, for the lines that are printed.

        Returns:
            How often each process was killed.

        Raises:
            StudyError: If a process does not come back, the study gets stuck, or anything is not as undisturbed.
        """
        try:
            self._rehearsal.found()
            self._rehearsal.enrol()
            self._rehearsal.propose()
            for name, process in self._rehearsal.connect().items():
                self._keeper.keep(name, process)
            study = self._rehearsal.launch()
            while self._killed.total() < most and not _is_over(study):
                self._kill_one(study, most_seconds, first + self._killed.total())
            self._wait_for_end(study)
            standing = set(self._keeper.names()) - {f"host {COORDINATOR}"}
            if not self._keeper.wait(_BACK_SECONDS, until=lambda: standing <= set(self._keeper.processes())):
                raise self._stuck(f"expected {sorted(standing)} to run, some do not")
            unasked = Counter(self._keeper.unasked)
            self._say(f"kills in this study: {self._killed.total()}; ended unasked: {dict(unasked) or 'none'}")
            self._rehearsal.finish(study)
            close_out(self._rehearsal)
        finally:
            self._rehearsal.close()
        return self._killed

    def _kill_one(self, study: Path, most_seconds: float, number: int) -> None:
        seconds, name = self._chance.uniform(0, most_seconds), str(self._chance.choice(self._keeper.names()))
        if self._chance.random() < _AT_WORK:
            self._keeper.wait(_BACK_SECONDS, until=lambda: self._is_at_work(study) or _is_over(study))
        self._keeper.wait(seconds, until=lambda: _is_over(study))
        self._keeper.wait(_BACK_SECONDS, until=lambda: name in self._keeper.processes() or _is_over(study))
        if _is_over(study):
            return
        process = self._keeper.processes().get(name)
        if process is None:
            raise self._stuck(f"expected {name} to be there again within {_BACK_SECONDS:.0f} s, it is not")
        os.kill(process, signal.SIGKILL)
        self._killed[name] += 1
        status = read_status(study / "status.json")
        done = "before the first status" if status is None else f"{status.phase}, {status.rounds_complete} rounds done"
        self._say(f"kill {number:>3} after {seconds:.2f} s: {name} ({done})")

    def _is_at_work(self, study: Path) -> bool:
        """Everything runs, and this coordinator has begun to ask."""
        found, status = self._keeper.processes(), read_status(study / "status.json")
        is_asking = (
            status is not None and status.phase == "running" and status.process == found.get(f"host {COORDINATOR}")
        )
        return is_asking and set(self._keeper.names()) <= set(found)

    def _wait_for_end(self, study: Path) -> None:
        """Until it is over; as long as there is news of it."""
        seen: StudyStatus | None = None

        def is_news() -> bool:
            return _is_over(study) or read_status(study / "status.json") != seen

        while not _is_over(study):
            seen = read_status(study / "status.json")
            if not self._keeper.wait(_STILL_SECONDS, until=is_news):
                raise self._stuck(f"expected the study to go on, it stands still for {_STILL_SECONDS:.0f} s: {seen}")

    def _stuck(self, what: str) -> StudyError:
        self._keeper.dump()
        time.sleep(_DUMP_SECONDS)
        return StudyError(what, remedy=f"the stacks of all processes are in the logs below {self._rehearsal.folder}")

    def _say(self, line: str) -> None:
        self._rehearsal.console.print(line, soft_wrap=True)


def _is_over(study: Path) -> bool:
    return (study / "outcome.json").exists()


def _with_stacks(folder: Path) -> None:
    """Every Python process that is started from now on writes its stacks into its log at SIGUSR1."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_STACKS)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))


if __name__ == "__main__":
    run_module(main)
