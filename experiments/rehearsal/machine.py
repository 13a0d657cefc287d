"""What a rehearsal takes of the machine that it runs on: accounts and ports."""

from __future__ import annotations

import os
import pwd
import socket
from typing import Final

_ACCOUNTS: Final = ("daemon", "nobody")
"""Two accounts that every Linux has, for agent and gateway; used when the rehearsal is run by root."""


def two_accounts() -> tuple[str, ...]:
    """Options of ``site start``: two accounts where there are two, for only root may start processes as somebody else."""
    if os.geteuid() != 0:
        return ()
    known = {entry.pw_name for entry in pwd.getpwall()}
    agent, gateway = _ACCOUNTS
    if not {agent, gateway} <= known:
        return ("--one-user",)
    return ("--agent-user", agent, "--gateway-user", gateway)


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(number: int) -> int:
    """The first of as many free ports in a row."""
    while True:
        first = free_port()
        if first + number > 65_000:  # noqa: PLR2004 - the end of the range
            continue
        try:
            for port in range(first, first + number):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
