"""The `Transport` over a Flower grid: our bytes in Flower's messages.

Flower only carries bytes; protocol, folding and rounds are ours. Replies are pulled as they arrive, so that the coordinator can
fold and free them one by one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from aggregator.transport import SiteReply
from federation.errors import TransportError
from federation.protocol.messages import EvaluateRequest, read_envelope

_RECORD: Final = "cohortium"
_POLL_SECONDS: Final = 0.005
_LONGEST_POLL_SECONDS: Final = 0.5


class GridTransport:
    """Reaches sites over a Flower grid.

    Args:
        grid: Flower's grid.
        sites: The roster.
        deadline_seconds: How long a site may take to answer.
        start_seconds: How long to wait for all sites of the roster to appear.

    Raises:
        TransportError: If a site of the roster does not appear in time, or two nodes claim to be the same site.
    """

    def __init__(
        self, grid: Grid, *, sites: tuple[str, ...], deadline_seconds: float, start_seconds: float = 120.0
    ) -> None:
        self._grid = grid
        self._deadline_seconds = deadline_seconds
        self._node_by_site = self._identify(sites, start_seconds)

    def _identify(self, sites: tuple[str, ...], start_seconds: float) -> dict[str, int]:
        end = time.monotonic() + start_seconds
        nodes: set[int] = set()
        while len(nodes) < len(sites) and time.monotonic() < end:
            nodes = set(self._grid.get_node_ids())
            time.sleep(_POLL_SECONDS)
        questions = [Message(RecordDict(), dst_node_id=node, message_type="query.identity") for node in sorted(nodes)]
        found: dict[str, int] = {}
        for node, answer in self._ask(questions, deadline=end):
            site = str(answer.content[_RECORD]["site"]) if answer is not None and not answer.has_error() else ""
            if site in found:
                raise TransportError(f"expected one node per site, got two that say they are {site!r}")
            found[site] = node
        absent = sorted(set(sites) - set(found))
        if absent:
            raise TransportError(
                f"expected every site of the roster to be connected, {absent} are not",
                remedy="start their clients, or make a version of the study without them",
            )
        return {site: found[site] for site in sites}

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """Send every request at once; yield replies as they arrive, then the sites that missed the deadline."""
        site_by_node = {self._node_by_site[site]: site for site in requests}
        messages = [
            Message(
                RecordDict({_RECORD: ConfigRecord({"content": request})}),
                dst_node_id=self._node_by_site[site],
                message_type=_message_type(request),
            )
            for site, request in requests.items()
        ]
        for node, answer in self._ask(messages, deadline=time.monotonic() + self._deadline_seconds):
            site = site_by_node[node]
            if answer is None:
                yield SiteReply(site=site, content=None, reason="deadline")
            elif answer.has_error():
                yield SiteReply(site=site, content=None, reason="unreachable")
            else:
                content = answer.content[_RECORD]["content"]
                is_bytes = isinstance(content, bytes)
                yield SiteReply(
                    site=site, content=content if is_bytes else None, reason="" if is_bytes else "unreachable"
                )

    def _ask(self, messages: list[Message], *, deadline: float) -> Iterator[tuple[int, Message | None]]:
        node_by_message = {
            identifier: message.metadata.dst_node_id
            for identifier, message in zip(self._grid.push_messages(messages), messages, strict=True)
            if identifier
        }
        pause = _POLL_SECONDS
        while node_by_message and time.monotonic() < deadline:
            arrived = list(self._grid.pull_messages(list(node_by_message)))
            for answer in arrived:
                yield node_by_message.pop(answer.metadata.reply_to_message_id), answer
            pause = _POLL_SECONDS if arrived else min(pause * 1.5, _LONGEST_POLL_SECONDS)
            if node_by_message:
                time.sleep(pause)
        for node in node_by_message.values():
            yield node, None

    def close(self) -> None:
        """The grid belongs to Flower; nothing to release."""


def _message_type(request: bytes) -> str:
    return "evaluate.model" if isinstance(read_envelope(request).header, EvaluateRequest) else "train.update"
