"""The wire of a rehearsal: counts every byte that sites and coordinator exchange, and pulls out one site's plug in one round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aggregator.transport import SiteReply, Transport
from federation.protocol.messages import Header, SecureSumRequest, StatisticsRequest, TrainRequest, read_envelope
from federation.study.secure_sums import STATISTICS


@dataclass(frozen=True)
class Exchange:
    """One request to one site, and what came back.

    Args:
        site: Whom.
        kind: Of the request.
        round_number: Of the request; 0 for what comes before round 1.
        request_bytes: Length of the request.
        reply_bytes: Length of the reply; 0 if there was none.
    """

    site: str
    kind: str
    round_number: int
    request_bytes: int
    reply_bytes: int


@dataclass(frozen=True)
class Plug:
    """Which site loses its network, and when.

    Args:
        site: Which.
        round_number: In which round; it is back in the next.
        mid_round: After it has sent its update. Otherwise before it is asked for it.
    """

    site: str
    round_number: int
    mid_round: bool = False


@dataclass
class RehearsalWire:
    """A transport around another.

    Args:
        inner: Reaches the agents.
        plug: What is unplugged; ``None``: nothing.
    """

    inner: Transport
    plug: Plug | None = None
    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    lost: list[str] = field(default_factory=list[str])
    """Kinds of the requests that the unplugged site did not get."""
    _is_out: bool = False

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """Pass requests on, one reply per site."""
        headers = {site: read_envelope(content).header for site, content in requests.items()}
        away = {site for site, header in headers.items() if self._is_away(site, header)}
        for site in away:
            header = headers[site]
            self.lost.append(header.kind)
            self._note(site, header, len(requests[site]), 0)
            yield SiteReply(site=site, content=None, reason="unreachable")
        for reply in self.inner.exchange({site: content for site, content in requests.items() if site not in away}):
            length = 0 if reply.content is None else len(reply.content)
            self._note(reply.site, headers[reply.site], len(requests[reply.site]), length)
            yield reply

    def close(self) -> None:
        """Close the inner transport."""
        self.inner.close()

    def _is_away(self, site: str, header: Header) -> bool:
        plug = self.plug
        if plug is None or site != plug.site:
            return False
        number = round_of(header)
        if isinstance(header, SecureSumRequest | StatisticsRequest) and header.batch.purpose == STATISTICS:
            self._is_out = False  # statistics come after the last round
        elif number > plug.round_number:
            self._is_out = False
        elif number == plug.round_number and isinstance(header, TrainRequest):
            was_out, self._is_out = self._is_out, True
            return was_out or not plug.mid_round
        return self._is_out

    def _note(self, site: str, header: Header, request_bytes: int, reply_bytes: int) -> None:
        self.exchanges.append(
            Exchange(
                site=site,
                kind=header.kind.removesuffix("/1"),
                round_number=round_of(header),
                request_bytes=request_bytes,
                reply_bytes=reply_bytes,
            )
        )


def round_of(header: Header) -> int:
    """The round to which a request belongs: of an agreement on keys, the first for which they are; 0 before round 1."""
    if isinstance(header, SecureSumRequest) and header.round_number is None:
        return header.batch.first_round
    return int(getattr(header, "round_number", None) or 0)
