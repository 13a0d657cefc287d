"""The one thing that a gateway says of its own accord to the agent: that it refused a run, and which of a few reasons it had."""

from __future__ import annotations

from typing import Final

NOTICE: Final = b"cohortium/gateway-notice/1\0"
REASONS: Final = ("bundle", "configuration", "task", "code")
"""The run ships another bundle than the installed one; a configuration; or is of a kind that has no place here; the gateway's
installed code is not what the site has accepted."""


def notice_of(reason: str) -> bytes:
    """The bytes that say so."""
    return NOTICE + reason.encode("ascii")


def reason_in(content: bytes) -> str | None:
    """The reason that a notice gives; ``None`` if these bytes are no notice."""
    return next((reason for reason in REASONS if content == notice_of(reason)), None)
