"""The record-side process of a site, behind one Unix socket.

With ``--folder`` it answers for one study, as a simulation needs it; with ``--home`` for every study of a site, to signed requests
only. It opens no network connection. One request per connection, one after another: a site answers in order, and a gateway that
dies and comes back finds the socket where it was. Replies are kept in the study's folder before they are sent, so that a request
repeated after a crash of either side gets the same bytes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from federation.errors import CodeRefusedError, ConfigurationError, InvalidInputError, TransportError
from site_client.event_log import log_event, log_to_stderr
from site_client.frames import receive_frame, send_frame
from site_client.home_paths import SiteLayout
from site_client.installed_code import Installed, check_installed
from site_client.network_isolation import check_no_network
from site_client.peer_credentials import peer_user
from site_client.source_only import run_sources_only

_LOG: Final = logging.getLogger("cohortium.agent")
_REQUEST_SECONDS: Final = 60.0
"""How long the bytes of one request may take; the answer may take as long as training does."""
_IDLE_LOOK_SECONDS: Final = 600.0
_OWNER_ONLY: Final = 0o600
_OWNER_AND_GROUP: Final = 0o660

Handler = Callable[[bytes], bytes]


def serve(path: Path, handle: Handler, *, peer: int | None = None) -> None:
    """Answer requests for ever.

    Args:
        path: Where the socket appears; a stale one is replaced. Its owner may connect, and with ``peer`` its group, which is that
            of the folder if the folder is marked so.
        handle: The agent's. It does not raise.
        peer: The only user whose processes are answered; ``None``: whoever the socket's mode lets in.

    Raises:
        ConfigurationError: If the path is longer than the system allows for a socket.
    """
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(str(path))
        except OSError as failure:
            raise ConfigurationError(
                f"expected to make the socket {path}, got {failure.strerror or failure}",
                remedy="choose a shorter path, in a folder where this account may write",
            ) from failure
        path.chmod(_OWNER_ONLY if peer in (None, os.getuid()) else _OWNER_AND_GROUP)
        listener.listen(8)
        while True:
            connection, _ = listener.accept()
            with connection:
                _answer(connection, handle, peer)


def _answer(connection: socket.socket, handle: Handler, peer: int | None) -> None:
    try:
        connection.settimeout(_REQUEST_SECONDS)
        if peer is not None and peer_user(connection) != peer:
            log_event(_LOG, logging.ERROR, "stranger", reason="stranger")
            return
        request = receive_frame(connection)
        reply = handle(request)
        send_frame(connection, reply)
    except (OSError, TransportError) as failure:
        _LOG.warning("the gateway left before it had its answer; it can ask again: %s", failure)


def main(words: Sequence[str] | None = None) -> None:
    """``python -m site_client.agent_process (--folder FOLDER | --home SITE) --socket PATH``."""
    parser = argparse.ArgumentParser(description="The record side of a site.")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--folder", type=Path, help="the study's folder at the site")
    whose.add_argument("--home", type=Path, help="the site's home folder")
    parser.add_argument("--socket", type=Path, required=True, help="the Unix socket to answer on")
    parser.add_argument("--gateway-uid", type=int, help="the only user whose processes are answered")
    parser.add_argument("--no-network", action="store_true", help="refuse to run where a network can be reached")
    parser.add_argument("--warm-studies", type=int, default=4, help="studies in memory at the same time, with --home")
    chosen = parser.parse_args(words)
    log_to_stderr()
    if chosen.no_network:
        check_no_network()
    handle = _study(chosen.folder) if chosen.home is None else _hospital(SiteLayout(chosen.home), chosen.warm_studies)
    log_event(_LOG, logging.INFO, "started", number=os.getpid())
    serve(chosen.socket, handle, peer=chosen.gateway_uid)


def _study(folder: Path) -> Handler:
    import torch

    from site_client.agent import SiteAgent
    from site_client.site_folder import SiteFolder

    torch.set_num_threads(1)  # sums must not depend on the number of cores
    return SiteAgent(SiteFolder(folder)).handle


def _hospital(layout: SiteLayout, warm_studies: int) -> Handler:
    began = _accepted(layout)  # before anything is imported that reads records, and before torch

    import torch

    from federation.governance.audit import AuditEvent
    from federation.governance.audit_log import AuditLog
    from site_client.accepted_code import check_code
    from site_client.code_watch import CodeWatch
    from site_client.hospital import Hospital
    from site_client.ledger.key_file import read_key
    from site_client.study_agents import StudyAgents

    os.umask(0o077)
    torch.set_num_threads(1)
    site = layout.read().site
    key = read_key(layout.identity_key.with_suffix(""))
    if key is None:
        raise InvalidInputError(f"expected the site's key at {layout.identity_key}, got none", remedy="enrol the site")
    check_code(layout, clock=_now)  # the signature of the paper, too
    log = AuditLog(layout.audit, log=site, key=key, clock=_now)
    log.record(AuditEvent(event="started", actor="agent"))
    agents = StudyAgents(layout, site, clock=_now, most=warm_studies)
    threading.Thread(target=_forget_idle, args=(agents.forget_idle,), daemon=True).start()
    watch = CodeWatch(layout.accepted_code, began, clock=_now)
    return Hospital(layout, key=key, log=log, agents=agents, clock=_now, code=watch).handle


def _accepted(layout: SiteLayout) -> Installed:
    """What is installed, if it is what the site has accepted; from then on nothing else of ours is run."""
    try:
        found = check_installed(layout.accepted_code)
        run_sources_only(found.files)
    except CodeRefusedError as refusal:
        from site_client.accepted_code import note_refusal

        note_refusal(layout, refusal, clock=_now)
        raise
    return found


def _forget_idle(forget: Callable[[], None]) -> None:
    """Again and again: patients of a study that nobody asks about any more leave the memory."""
    while True:
        time.sleep(_IDLE_LOOK_SECONDS)
        forget()


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


if __name__ == "__main__":
    main()
