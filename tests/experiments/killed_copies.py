"""A copy of this process that is killed when it reaches the n-th of the places at which it writes something down."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import aggregator.checkpoints as checkpoints_module
import experiments.engines.batched.site_states as states_module
from aggregator.outbox import Outbox
from aggregator.outbox_database import OutboxDatabase

PLACES: Final = frozenset(
    {
        "before sites' states", "after sites' states", "before a model", "after a model", "before a record", "after a record",
        "before the outbox", "before the outbox's commit", "after the outbox", "after a round",
    }
)  # fmt: skip


class Trap:
    """Kills its process at the place with this number, counted from 0, and writes the names of all places that it passed."""

    def __init__(self, number: int, passed: Path) -> None:
        self._left, self._passed = number, passed

    def reach(self, place: str) -> None:
        """Pass a place, or not."""
        with self._passed.open("a") as stream:
            stream.write(place + "\n")
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def set(self) -> None:
        """Lie in wait wherever rounds are committed and recorded. For good: only in a copy."""
        for module in (checkpoints_module, states_module):
            module.write_durably = self._trapped(module.write_durably, in_sites=module is states_module)
        add_all, session = Outbox.add_all, OutboxDatabase.session

        def trapped_add_all(outbox: Outbox, records: dict) -> int:
            self.reach("before the outbox")
            added = add_all(outbox, records)
            self.reach("after the outbox")
            return added

        @contextlib.contextmanager
        def trapped_session(database: OutboxDatabase) -> Generator:
            with session(database) as connection:
                yield connection
                self.reach("before the outbox's commit")

        Outbox.add_all, OutboxDatabase.session = trapped_add_all, trapped_session

    def _trapped(self, write: Callable, *, in_sites: bool) -> Callable:
        def trapped(path: Path, *rest, **named) -> None:
            what = "sites' states" if in_sites else "a record" if path.suffix == ".json" else "a model"
            self.reach(f"before {what}")
            write(path, *rest, **named)
            self.reach(f"after {what}")

        return trapped


def killed_in_a_copy(work: Callable[[], None]) -> bool:
    """Do the work in a copy of this process, and say whether it was killed; it may not fail otherwise."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            if code:
                sys.excepthook(*sys.exc_info())
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False
