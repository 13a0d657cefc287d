"""How long a SuperNode without a message waits before it asks for the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHORTEST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
_GROWTH: Final = 1.1
_IDLE_SECONDS: Final = 1.0
"""Flower's loop sleeps three seconds when there is no message, and half a second where something is on its way."""


class Pauses:
    """Stands in for ``time`` in the SuperNode's main loop.

    Flower sleeps three seconds when there is no message. Here pauses begin short and grow by a tenth each: a message that comes t
    seconds after the last one waits for a tenth of t, and a gateway without work asks once a second. Where an answer takes long
    because many ask, a pause is at least as long as the answer took.

    Args:
        sleep: Seconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._next = SHORTEST_PAUSE
        self._slept_at: float | None = None

    def sleep(self, seconds: float) -> None:
        """Sleep, but not as long."""
        if seconds < _IDLE_SECONDS:
            self._sleep(SHORTEST_PAUSE)
            return
        took = 0.0 if self._slept_at is None else self._clock() - self._slept_at
        self._sleep(min(max(self._next, took), LONGEST_PAUSE))
        self._next = min(self._next * _GROWTH, LONGEST_PAUSE)
        self._slept_at = self._clock()

    def message_came(self) -> None:
        """The next message may follow soon."""
        self._next, self._slept_at = SHORTEST_PAUSE, None
