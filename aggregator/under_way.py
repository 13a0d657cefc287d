"""What an exchange over Flower waits for: which message carries which request, and when a site is asked again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class UnderWay:
    """Requests on their way, answered one by one.

    Args:
        unanswered: Site to its request.
        site_by_message: Whom a message went to.
        node_by_greeting: Which node was asked who it is.
        resend_at: Site to the time at which it is asked again.
        patience: Site to the seconds for which it was waited the last time.
    """

    unanswered: dict[str, bytes]
    site_by_message: dict[str, str] = field(default_factory=dict[str, str])
    node_by_greeting: dict[str, int] = field(default_factory=dict[str, int])
    resend_at: dict[str, float] = field(default_factory=dict[str, float])
    patience: dict[str, float] = field(default_factory=dict[str, float])

    def ask_again(self, site: str, seconds: float) -> None:
        """Be twice as patient each time."""
        self.patience[site] = 2 * self.patience[site] if site in self.patience else seconds
        self.resend_at[site] = time.monotonic() + self.patience[site]

    def forget_messages(self) -> None:
        """Nothing that was sent will be answered."""
        self.site_by_message.clear()
        self.node_by_greeting.clear()
        self.resend_at.clear()
