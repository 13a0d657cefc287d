"""When a gateway lives on and nobody makes progress: one rule that finds it, whatever the reason.

The gateway is crash-only. Whatever raises ends the process, and its supervisor starts it again; what is left are states in which
nothing raises. A part of a message that never comes, because the SuperLink that had promised it died; a message that the SuperNode
holds and nobody takes; a reply that is waited for and was never written; a request that trickles for ever. So that nobody has to
think of all of them, progress is what is watched::

    a message is here  ->  the agent is at work on it, or a step of moving it was completed within STUCK_SECONDS
    no message is here ->  the gate was asked for one within STUCK_SECONDS
    a request          ->  has ended within LONGEST_REQUEST_SECONDS

While the agent is at work nothing else counts, however long it takes. A request that is under way counts as progress until its end:
Flower's client gives up after thirty seconds without a byte. An end too many costs little: the coordinator asks again, and the
agent answers with the bytes that it has kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

STUCK_SECONDS: Final = 60.0
"""Without a step. A step is a part of a message fetched, sent, handed over: seconds at most, on a slow machine too."""
LONGEST_REQUEST_SECONDS: Final = 900.0
"""Eight MiB, the largest body at the gate, at its slowest speed of 16 KiB/s take 512 s."""
_LOOK_SECONDS: Final = 1.0

Clock = Callable[[], float]
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Progress:
    """What the gateway's threads do at this moment.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._working = 0
        self._requests: dict[int, float] = {}
        self._next_request = 0
        self._has_message = False
        self._moved_at: float | None = None
        """When the last step was completed; ``None``: nothing has begun, such as while the process starts."""

    @property
    def has_message(self) -> bool:
        """Whether a message is here that has to go on."""
        return self._has_message

    def message_came(self) -> None:
        """A message is here, and has to go on."""
        with self._lock:
            self._has_message, self._moved_at = True, self._clock()

    def message_left(self) -> None:
        """It was answered, or dropped; the next one can be asked for."""
        with self._lock:
            self._has_message, self._moved_at = False, self._clock()

    def moved(self) -> None:
        """A step of moving a message was completed."""
        with self._lock:
            self._moved_at = self._clock()

    def step(self, function: Callable[_P, _T]) -> Callable[_P, _T]:
        """The same function; when it has returned, a step was completed."""

        def done(*arguments: _P.args, **options: _P.kwargs) -> _T:
            found = function(*arguments, **options)
            self.moved()
            return found

        return done

    def receiving(self, receive: Callable[[], _T | None]) -> Callable[[], _T | None]:
        """The same function: who asks for the next message is done with the last one, whatever became of it."""

        def received() -> _T | None:
            self.message_left()
            found = receive()
            if found is not None:
                self.message_came()
            return found

        return received

    @contextmanager
    def working(self) -> Generator[None]:
        """The agent has a message and was not heard of since."""
        with self._lock:
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
                self._moved_at = self._clock()

    @contextmanager
    def request(self) -> Generator[None]:
        """A request to the gate is under way."""
        with self._lock:
            self._next_request += 1
            number = self._next_request
            self._requests[number] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                del self._requests[number]
                if not self._has_message:
                    self._moved_at = self._clock()  # asking is all that there is to do, answered or not

    def reason_to_end(self) -> str | None:
        """``request``, ``message`` or ``loop`` if the process is stuck; ``None`` if it is not."""
        with self._lock:
            now = self._clock()
            if self._working:
                return None
            if self._requests:
                return "request" if now - min(self._requests.values()) > LONGEST_REQUEST_SECONDS else None
            if self._moved_at is None or now - self._moved_at <= STUCK_SECONDS:
                return None
            return "message" if self._has_message else "loop"


def watch(progress: Progress, end: Callable[[str], None], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Look again and again, until the process is stuck.

    Args:
        progress: Of the process.
        end: Ends the process; is told the reason.
        sleep: Seconds.
    """
    while (reason := progress.reason_to_end()) is None:
        sleep(_LOOK_SECONDS)
    end(reason)
