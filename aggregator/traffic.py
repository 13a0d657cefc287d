"""Bytes of requests and replies, counted where they are handed to the transport and come from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aggregator.transport import SiteReply, Transport


@dataclass(frozen=True)
class Traffic:
    """Bytes between the aggregator and all sites. What the transport adds (TLS, Flower's records, signatures) is not in it.

    Args:
        sent: Of requests.
        received: Of replies; a site that did not answer sent none.
    """

    sent: int = 0
    received: int = 0


class ByteCounter:
    """Bytes since they were last asked for."""

    def __init__(self) -> None:
        self._sent = 0
        self._received = 0

    def note(self, *, sent: int = 0, received: int = 0) -> None:
        """Count."""
        self._sent += sent
        self._received += received

    def taken(self) -> Traffic:
        """What was counted since the last call; counting begins anew."""
        traffic = Traffic(self._sent, self._received)
        self._sent = self._received = 0
        return traffic


class CountedTransport:
    """A transport whose bytes are counted.

    Args:
        inner: Does the work.
        counter: Is told of every request and reply.
    """

    def __init__(self, inner: Transport, counter: ByteCounter) -> None:
        self._inner = inner
        self._counter = counter

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """As the transport does."""
        self._counter.note(sent=sum(len(content) for content in requests.values()))
        for reply in self._inner.exchange(requests):
            self._counter.note(received=0 if reply.content is None else len(reply.content))
            yield reply

    def close(self) -> None:
        """As the transport does."""
        self._inner.close()
