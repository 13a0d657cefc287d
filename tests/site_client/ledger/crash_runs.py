"""Runs in a process of its own: forks agents, kills them or lets their disk fail, and checks what is left.

    python -m tests.site_client.ledger.crash_runs kills <folder> <at named points> <at random instants>
    python -m tests.site_client.ledger.crash_runs faults <folder> <kind> <step> <releases> <once | for good | and again>
    python -m tests.site_client.ledger.crash_runs race <folder> <reservations of each of two processes>

It prints one JSON object with counts, or fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from federation.errors import BudgetExhaustedError, CohortiumError
from site_client.ledger.store import Store
from tests.site_client.ledger import small_agent
from tests.site_client.ledger.ledger_cases import COUNTS, assert_sound, cap_that_admits, make, open_again, reserve

AGENT_POINTS = (
    "before reserve", "after reserve", "before the reply is written", "after the reply is written", "after computed",
    "before sending", "after sending", "after sent",
)  # fmt: skip
STORE_POINTS = ("before the transaction", "before the insert", "before the commit", "after the commit")
POINTS = AGENT_POINTS + STORE_POINTS
LONGEST_LIFE_SECONDS = 0.03


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def set_trap(point: str, after: int) -> None:
    """Kill this process when it reaches ``point`` for the ``after``-th time."""
    left = after

    def spring(name: str) -> None:
        nonlocal left
        left -= name == point
        if left < 0:
            die()

    small_agent.reached = spring
    append, transaction = Store.append, Store.transaction

    def trapped_append(self, rows):
        spring("before the insert")
        append(self, rows)
        spring("before the commit")

    @contextlib.contextmanager
    def trapped_transaction(self):
        spring("before the transaction")
        with transaction(self):
            yield
        spring("after the commit")

    Store.append = trapped_append
    Store.transaction = trapped_transaction


def in_child(task: Callable[[], None]) -> int:
    """Fork, run the task, leave without any clean-up."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            task()
            code = 0
        except CohortiumError as failure:
            code = failure.exit_code
        finally:
            if code == 70:
                sys.excepthook(*sys.exc_info())
            os._exit(code)
    return child


def outcome(child: int) -> str:
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return "killed"
    return {0: "finished", 50: "refused"}[os.WEXITSTATUS(status)]


class Folders:
    """A folder of work after another; a finished one is checked for completeness."""

    def __init__(self, root: Path) -> None:
        self.root, self.count, self.rows = root, 0, ()
        self.next()

    def next(self) -> None:
        self.count += 1
        self.rows = ()
        self.folder = self.root / str(self.count)
        self.folder.mkdir()

    def check(self) -> None:
        self.rows = small_agent.check(self.folder, self.rows)
        if small_agent.is_done(self.folder):
            self.next()


def kills(root: Path, at_points: int, at_random: int) -> dict[str, object]:
    generator, folders = random.Random(3), Folders(root)
    killed = {"at random": 0, **dict.fromkeys(POINTS, 0)}
    for number in range(at_points):
        point = POINTS[number % len(POINTS)]
        while True:

            def task(point: str = point, after: int = generator.randrange(4), folder: Path = folders.folder) -> None:
                set_trap(point, after)
                small_agent.work(folder)

            found = outcome(in_child(task))
            folders.check()
            killed[point] += found == "killed"
            if found == "killed":
                break
    while killed["at random"] < at_random:
        child = in_child(lambda: small_agent.work(folders.folder))
        time.sleep(generator.uniform(0, LONGEST_LIFE_SECONDS))
        os.kill(child, signal.SIGKILL)
        killed["at random"] += outcome(child) == "killed"
        folders.check()
    return {"killed": killed, "studies": folders.count}


def faults(root: Path, kind: str, step: int, releases: int, how: str) -> dict[str, object]:
    """Let every ``step``-th call to the disk fail (or kill), until a run needs fewer calls than that."""
    shim = ctypes.CDLL(None)
    number, outcomes = 1, {"finished": 0, "refused": 0, "killed": 0}
    while True:
        folder = root / str(number)
        folder.mkdir()

        def task(folder: Path = folder, number: int = number) -> None:
            shim.fault_arm(str(folder).encode(), number, kind.encode(), how == "for good")
            small_agent.work(folder, releases=releases, attempts=2 if how == "and again" else 1)
            code = 7 if shim.fault_calls() < number else 0  # 7: the run needs no so many calls
            os._exit(code)

        _, status = os.waitpid(in_child(task), 0)
        rows = small_agent.check(folder, ())
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 7:
            return {"calls": number - 1, **outcomes}
        name = "killed" if os.WIFSIGNALED(status) else {0: "finished", 50: "refused"}[os.WEXITSTATUS(status)]
        outcomes[name] += 1
        small_agent.work(folder)  # a clean restart finishes the study
        small_agent.check(folder, rows)
        assert small_agent.is_done(folder)
        number += step


def race(root: Path, each: int) -> dict[str, object]:
    """Two processes reserve as fast as they can; half of their releases are the same ones."""
    path, fits = root / "ledger.sqlite", each
    make(path, cap=cap_that_admits(fits, events=(COUNTS,))).close()

    def racer(name: str) -> None:
        admitted = refused = 0
        with open_again(path) as ledger:
            for number in range(each):
                try:
                    reserve(ledger, number, study="shared" if number % 2 else name, events=(COUNTS,))
                    admitted += 1
                except BudgetExhaustedError:
                    refused += 1
        (root / name).write_text(json.dumps([admitted, refused]))

    children = [in_child(lambda name=name: racer(name)) for name in ("first", "second")]
    assert [outcome(child) for child in children] == ["finished", "finished"]
    assert_sound(path)
    with open_again(path) as ledger:
        status = ledger.status()
    counts = [json.loads((root / name).read_text()) for name in ("first", "second")]
    return {
        "fits": fits,
        "charged": len(status.releases),
        "admitted": sum(count[0] for count in counts),
        "refused": sum(count[1] for count in counts),
        "epsilon": status.epsilon_spent,
        "cap": status.epsilon_cap,
    }


if __name__ == "__main__":
    command, where, *rest = sys.argv[1:]
    if command == "kills":
        result = kills(Path(where), int(rest[0]), int(rest[1]))
    elif command == "faults":
        result = faults(Path(where), rest[0], int(rest[1]), int(rest[2]), rest[3])
    else:
        result = race(Path(where), int(rest[0]))
    sys.stdout.write(json.dumps(result))
