"""How the coordinator reaches sites: bytes out, bytes back, drop-outs as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SiteReply:
    """What came back from one site.

    Args:
        site: Who answered.
        content: The reply's bytes, or ``None`` if there is none.
        reason: Reason code of a failure (``unreachable``, ``deadline``, or a site's error class); empty on success. Never
            exception text.
    """

    site: str
    content: bytes | None
    reason: str = ""


class Transport(Protocol):
    """Sends one request to each site and yields replies as they arrive.

    The same coordinator runs over every implementation; ``tests/contracts`` holds what each must do.
    """

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """Send ``requests`` (site to bytes); yield exactly one reply per site, in any order."""
        ...

    def close(self) -> None:
        """Release what the transport holds. Safe to call twice."""
        ...
