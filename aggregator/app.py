"""The `Transport` over a Flower grid: our bytes in Flower's messages.

Flower only carries bytes; protocol, folding and rounds are ours. Replies are pulled as they arrive, so that the coordinator can
fold and free them one by one. Sites answer a repeated request with the same bytes, so asking again is always safe: it is done when
the link was lost, when a node came back under another number, and when an answer is long overdue.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from aggregator.flower_messages import RECORD, from_pieces, in_pieces, message_type_of
from aggregator.transport import SiteReply
from aggregator.under_way import UnderWay
from federation.errors import TransportError

_LOG: Final = logging.getLogger("cohortium.coordinator")
_POLL_SECONDS: Final = 0.01
_LONGEST_POLL_SECONDS: Final = 0.5
_POLL_GROWTH: Final = 1.2
"""A reply that comes t seconds after the last one is found within a sixth of t."""
_GREET_AGAIN_SECONDS: Final = 30.0
"""Without an answer to the question who a node is: Flower delivers a message once, and may lose it."""
_STRANGERS_SECONDS: Final = 1.0
_LOST_SECONDS: Final = 5.0
_LOST: Final = frozenset(
    {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE}
)
"""Flower's errors that say that a message or its node got lost, not that a site failed."""

Reconnect = Callable[[], Grid]
SitesByNode = Callable[[], Mapping[int, str]]
Reasons = Callable[[], Mapping[str, str]]
_T = TypeVar("_T")


class GridTransport:
    """Reaches sites over a Flower grid.

    Args:
        grid: Flower's grid.
        sites: The roster.
        deadline_seconds: How long a site may take to answer.
        start_seconds: How long to wait for all sites of the roster to appear.
        reconnect: Opens another grid after the last one raised `ConnectionError`. With it, nodes may also come back under another
            number: the last one that says it is a site is believed, which a grid without node authentication must be
            shielded for. ``None``: a lost grid ends the study, and nodes keep their numbers.
        resend_seconds: After how long without an answer a site is asked again; doubled each time.
        sites_by_node: Which node is which site, where nodes have keys: then nobody is asked who he is, and a study begins
            without the sites that are not connected by ``start_seconds``. Raises `ConnectionError` like the grid.
        gone: Sites not to wait for any more, with the reason code: those that were revoked, or have withdrawn.

    Raises:
        TransportError: If a site of the roster does not appear in time, or two nodes claim to be the same site.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        sites: tuple[str, ...],
        deadline_seconds: float,
        start_seconds: float = 120.0,
        reconnect: Reconnect | None = None,
        resend_seconds: float = 60.0,
        sites_by_node: SitesByNode | None = None,
        gone: Reasons | None = None,
    ) -> None:
        self._grid = grid
        self._sites = sites
        self._deadline_seconds = deadline_seconds
        self._reconnect = reconnect
        self._resend_seconds = resend_seconds
        self._node_by_site: dict[str, int] = {}
        self._introduced: set[int] = set()
        self._greeted_at: dict[int, float] = {}
        self._sites_by_node = sites_by_node
        self._gone = gone
        if sites_by_node is None:
            self._identify(start_seconds)
        else:
            self._await_nodes(start_seconds)

    def _await_nodes(self, start_seconds: float) -> None:
        """Wait until every site's node is connected, but not too long: who comes later is asked later."""
        end = time.monotonic() + start_seconds
        while set(self._sites) - set(self._node_by_site) and time.monotonic() < end:
            self._node_by_site = self._connected()
            time.sleep(_LONGEST_POLL_SECONDS)

    def _connected(self) -> dict[str, int]:
        """Connected nodes by site, as their keys say."""
        if self._sites_by_node is None:
            return {}
        online, sites = set(self._grid.get_node_ids()), self._sites_by_node()
        return {site: node for node, site in sites.items() if node in online and site in self._sites}

    def _identify(self, start_seconds: float) -> None:
        """Ask every node which site it is, until the roster is complete."""
        end = time.monotonic() + start_seconds
        asked: dict[str, int] = {}
        while time.monotonic() < end:
            asked |= self._greet_strangers(end)
            for answer in self._grid.pull_messages(list(asked)) if asked else ():
                site, node = _identity(answer), asked.pop(answer.metadata.reply_to_message_id)
                if site is None:
                    continue
                if self._node_by_site.setdefault(site, node) != node:
                    raise TransportError(f"expected one node per site, got two that say they are {site!r}")
                self._introduced.add(node)
            if set(self._sites) <= set(self._node_by_site):
                if not asked:
                    return
                end = min(end, time.monotonic() + _STRANGERS_SECONDS)
            time.sleep(_POLL_SECONDS)
        absent = sorted(set(self._sites) - set(self._node_by_site))
        if absent:
            raise TransportError(
                f"expected every site of the roster to be connected, {absent} are not",
                remedy="start their clients, or make a version of the study without them",
            )

    def _greet_strangers(self, end: float) -> dict[str, int]:
        """Ask nodes that have not said who they are, and were not asked a moment ago; message to node."""
        now = time.monotonic()
        strangers = sorted(
            node
            for node in set(self._grid.get_node_ids()) - self._introduced
            if now - self._greeted_at.get(node, float("-inf")) > _GREET_AGAIN_SECONDS
        )
        if not strangers:
            return {}
        self._greeted_at |= dict.fromkeys(strangers, now)
        lifetime = _lifetime(end)
        questions = [Message(RecordDict(), node, "query.identity", ttl=lifetime) for node in strangers]
        return dict(zip(self._grid.push_messages(questions), strangers, strict=True))

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """Send every request at once; yield replies as they arrive, then the sites that missed the deadline."""
        end = time.monotonic() + self._deadline_seconds
        under_way = UnderWay(dict(requests))
        pause, greet_at = _POLL_SECONDS, time.monotonic() + _LONGEST_POLL_SECONDS
        self._attempt(lambda: self._ask(under_way, tuple(requests), end), under_way, end)
        while under_way.unanswered and time.monotonic() < end:
            yield from self._given_up(under_way)
            replies = self._attempt(lambda: self._arrived(under_way), under_way, end)
            yield from replies or ()
            pause = _POLL_SECONDS if replies else min(pause * _POLL_GROWTH, _LONGEST_POLL_SECONDS)
            if self._reconnect is not None and time.monotonic() > greet_at:
                self._attempt(lambda: self._look_after(under_way, end), under_way, end)
                greet_at = time.monotonic() + _LONGEST_POLL_SECONDS
            if under_way.unanswered and not replies:
                time.sleep(min(pause, max(end - time.monotonic(), 0.0)))
        for site in under_way.unanswered:
            yield SiteReply(site=site, content=None, reason="deadline")

    def _given_up(self, under_way: UnderWay) -> list[SiteReply]:
        reasons = {} if self._gone is None else self._gone()
        lost = [site for site in under_way.unanswered if site in reasons]
        for site in lost:
            del under_way.unanswered[site]
        return [SiteReply(site=site, content=None, reason=reasons[site]) for site in lost]

    def _ask(self, under_way: UnderWay, sites: Iterable[str], end: float) -> None:
        """Send the requests of sites whose node is known; the others are asked when theirs says who it is."""
        known = [site for site in sites if site in self._node_by_site]
        messages = [
            Message(
                in_pieces(under_way.unanswered[site]),
                self._node_by_site[site],
                message_type_of(under_way.unanswered[site]),
                ttl=_lifetime(end),
            )
            for site in known
        ]
        for identifier, site in zip(self._grid.push_messages(messages) if messages else (), known, strict=True):
            if identifier:
                under_way.site_by_message[identifier] = site
            under_way.ask_again(site, self._resend_seconds)

    def _arrived(self, under_way: UnderWay) -> list[SiteReply]:
        """What has arrived since the last call; the first answer of a site counts."""
        found: list[SiteReply] = []
        for answer in self._grid.pull_messages([*under_way.site_by_message, *under_way.node_by_greeting]):
            identifier = answer.metadata.reply_to_message_id
            if identifier in under_way.node_by_greeting:
                node, name = under_way.node_by_greeting.pop(identifier), _identity(answer)
                if name is not None:
                    self._met(name, node, under_way)
                continue
            site = under_way.site_by_message.pop(identifier, "")
            if site not in under_way.unanswered:
                continue
            if answer.has_error() and self._reconnect is not None and answer.error.code in _LOST:
                under_way.resend_at[site] = time.monotonic() + _LOST_SECONDS
                continue
            del under_way.unanswered[site]
            found.append(_reply(site, answer))
        return found

    def _met(self, site: str, node: int, under_way: UnderWay) -> None:
        _LOG.info("site %s is node %d now", site, node)
        self._introduced.add(node)
        self._node_by_site[site] = node
        under_way.resend_at[site] = 0.0

    def _look_after(self, under_way: UnderWay, end: float) -> None:
        """Greet new nodes, and ask again where an answer is overdue."""
        if self._sites_by_node is None:
            under_way.node_by_greeting |= self._greet_strangers(end)
        else:
            connected = self._connected()
            for site in connected.keys() - {
                site for site, node in connected.items() if self._node_by_site.get(site) == node
            }:
                self._met(site, connected[site], under_way)
        now = time.monotonic()
        overdue = [site for site in under_way.unanswered if under_way.resend_at.get(site, 0.0) <= now]
        self._ask(under_way, overdue, end)

    def _attempt(self, step: Callable[[], _T], under_way: UnderWay, end: float) -> _T | None:
        """Take a step; if the link is lost, open another one and ask every site again."""
        try:
            return step()
        except ConnectionError as failure:
            if self._reconnect is None:
                raise TransportError("expected Flower's grid to answer, the connection is lost") from failure
            _LOG.warning("the link is lost and is opened again: %s", failure)
        under_way.forget_messages()
        self._node_by_site.clear()
        self._introduced.clear()
        self._greeted_at.clear()
        while time.monotonic() < end:
            try:
                self._grid = self._reconnect()
            except ConnectionError:
                time.sleep(_LONGEST_POLL_SECONDS)
            else:
                break
        return None

    def close(self) -> None:
        """The grid belongs to whoever opened it; nothing to release."""


def _identity(answer: Message) -> str | None:
    """The site that a node says it is; ``None``: it has not said, and is asked again later."""
    if answer.has_error():
        return None
    return str(answer.content[RECORD]["site"])


def _reply(site: str, answer: Message) -> SiteReply:
    content = None if answer.has_error() else from_pieces(answer.content)
    if content is not None:
        return SiteReply(site=site, content=content)
    return SiteReply(site=site, content=None, reason="unreachable")


def _lifetime(end: float) -> float:
    """Seconds for which a message is worth delivering: Flower drops it afterwards, and nobody waits for its answer."""
    return max(end - time.monotonic(), 1.0)
