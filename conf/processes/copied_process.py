"""Work that a copy of this process does (`fork`) while this one goes on: it has all that is here already, and answers with bytes.

A copy has one thread, whatever this process has: nothing may be copied while another thread holds what the work needs. An interrupt
of the terminal is for this process, which ends the copy.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Final, Self

Receive = Callable[[], bytes]

_FORK: Final = "fork"
_NOTHING: Final = b""
_SECONDS_TO_END: Final = 5.0


def pays_to_copy() -> bool:
    """Whether a copy has a processor of its own. Only on Linux: elsewhere system libraries may not be copied with a process."""
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1


class CopiedProcess:
    """Does one piece of work. Use it in a ``with`` block, which ends it.

    Args:
        work: Gives the answer; what it writes to files stays, everything else ends with the copy. It may call what it is given,
            once, to wait for :meth:`ask`'s question.
        name: Of the process.
        niceness: How far it steps back where there are fewer processors than processes, 0 to 19: this process goes first.
    """

    def __init__(self, work: Callable[[Receive], bytes], *, name: str, niceness: int = 0) -> None:
        context = get_context(_FORK)
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_answer, args=(theirs, self._pipe, work, niceness), name=name
        )  # no daemon, which could not have copies of its own; it ends with the block
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.kill()  # the answer was taken, or is asked for no more
        self._process.join(_SECONDS_TO_END)

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive()

    def ask(self, question: bytes) -> None:
        """Send what the work waits for. Once; without it such work ends with the block."""
        with suppress(OSError):  # it has ended: there will be no answer
            self._pipe.send_bytes(question)

    def answer(self, *, seconds: float | None = None) -> bytes | None:
        """What the work gave. Once.

        Args:
            seconds: To wait at most; ``None``: as long as the process runs.

        Returns:
            ``None`` if the work failed, took longer, or its process ended: do it here then, and see why.
        """
        with suppress(EOFError, OSError):
            if self._pipe.poll(seconds):
                return self._pipe.recv_bytes() or None
        return None


def _answer(pipe: Connection, other_end: Connection, work: Callable[[Receive], bytes], niceness: int) -> None:
    other_end.close()  # or this process would never see it closed
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(niceness)
    gc.freeze()  # what was copied is not looked through, which would write to it
    answer = _NOTHING
    with suppress(Exception):
        answer = work(pipe.recv_bytes)
    with suppress(OSError):
        pipe.send_bytes(answer)
