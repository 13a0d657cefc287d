"""The network side's process, before Flower is imported: is the installed code what the site has accepted?

The gateway reads the site's paper in its own folder. Its libraries may be others than the agent's, in an image of its own; of those
that both have it knows what they must be. A gateway that refuses itself tells the agent, which has it in the audit log.
"""

from __future__ import annotations

import argparse
import datetime as dt
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from federation.errors import CodeRefusedError
from site_client.code_watch import CodeWatch
from site_client.event_log import log_event, log_to_stderr
from site_client.gateway.agent_client import AgentClient
from site_client.installed_code import check_installed
from site_client.source_only import run_sources_only

_LOG: Final = logging.getLogger("cohortium.gateway")
_PAPER: Final = "code.json"


def main(words: Sequence[str] | None = None) -> None:
    """``python -m site_client.gateway_process``: as :mod:`site_client.gateway.supernode`, with ``--files``."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    chosen, _ = parser.parse_known_args(words)
    is_accepted = accepted(chosen.files / _PAPER, AgentClient(chosen.socket).notify)

    from site_client.gateway import supernode

    supernode.main(words, is_accepted=is_accepted)


def accepted(paper: Path, notify: Callable[[str], None]) -> Callable[[], bool]:
    """Check what is installed, and return how to look again before a run is answered.

    Args:
        paper: What the site has accepted.
        notify: Tells the agent.

    Raises:
        CodeRefusedError: If it is not what was accepted.
    """
    try:
        began = check_installed(paper, shared_only=True)
        run_sources_only(began.files)
    except CodeRefusedError:
        log_to_stderr()
        log_event(_LOG, logging.ERROR, "leaving", reason="code")
        notify("code")
        raise
    watch = CodeWatch(paper, began, clock=lambda: dt.datetime.now(tz=dt.UTC), shared_only=True)

    def is_accepted() -> bool:
        try:
            watch.check("")
        except CodeRefusedError:
            return False
        return True

    return is_accepted


if __name__ == "__main__":
    main()
