"""Whether an installation runs, and by which process: a lock on a file tells, and falls with the process however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from federation.errors import ConfigurationError

_MOST_DIGITS: Final = 20
_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.05


@contextlib.contextmanager
def held_by_one(path: Path, *, expected: str, remedy: str) -> Generator[None]:
    """Hold a process file for as long as the installation runs; its content is this process's number.

    Args:
        path: The file; its folder exists.
        expected: For the message, such as ``this site not to run yet``.
        remedy: What to do if another process holds it.

    Raises:
        ConfigurationError: If another process holds it.
    """
    with path.open("a+") as held:
        try:
            _lock(held.fileno())
        except OSError as failure:
            raise ConfigurationError(f"expected {expected}, one does: it holds {path}", remedy=remedy) from failure
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        yield
        held.truncate(0)


def _lock(descriptor: int) -> None:
    """Take the lock; :func:`holder` takes it for a moment, too, so one failure says nothing."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE_SECONDS)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(path: Path) -> int | None:
    """Number of the process that holds the file, or ``None`` if none does. The lock tells, not the number."""
    try:
        held = path.open("r")
    except FileNotFoundError:
        return None
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            number = held.read(_MOST_DIGITS).strip()
            return int(number) if number.isdigit() else None
    return None
