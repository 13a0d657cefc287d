"""The `inline` engine: real site agents called in process, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from aggregator.transport import SiteReply

Handler = Callable[[bytes], bytes]
"""A site agent's ``handle``."""


class InlineTransport:
    """A `Transport` of function calls.

    Args:
        handlers: Site to the handler of its agent.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = dict(handlers)

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        """Call each site's handler in turn."""
        for site, request in requests.items():
            handler = self._handlers.get(site)
            if handler is None:
                yield SiteReply(site=site, content=None, reason="unreachable")
            else:
                yield SiteReply(site=site, content=handler(request))

    def close(self) -> None:
        """Forget the handlers."""
        self._handlers.clear()
