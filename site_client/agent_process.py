"""The record-side process of a site: a :class:`~site_client.agent.SiteAgent` behind one Unix socket.

It opens no network connection. One request per connection, one after another: a site answers in order, and a gateway that dies
and comes back finds the socket where it was. Replies are kept in the site's folder before they are sent, so that a request
repeated after a crash of either side gets the same bytes.
"""

from __future__ import annotations

import argparse
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from federation.errors import TransportError
from site_client.frames import receive_frame, send_frame

_LOG: Final = logging.getLogger("cohortium.site")
_REQUEST_SECONDS: Final = 60.0
"""How long the bytes of one request may take; the answer may take as long as training does."""


def serve(path: Path, handle: Callable[[bytes], bytes]) -> None:
    """Answer requests for ever.

    Args:
        path: Where the socket appears, readable by its owner only; a stale one is replaced.
        handle: The agent's. It does not raise.
    """
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(8)
        while True:
            connection, _ = listener.accept()
            with connection:
                _answer(connection, handle)


def _answer(connection: socket.socket, handle: Callable[[bytes], bytes]) -> None:
    try:
        connection.settimeout(_REQUEST_SECONDS)
        request = receive_frame(connection)
        reply = handle(request)
        send_frame(connection, reply)
    except (OSError, TransportError) as failure:
        _LOG.warning("the gateway left before it had its answer; it can ask again: %s", failure)


def main(words: Sequence[str] | None = None) -> None:
    """``python -m site_client.agent_process --folder FOLDER --socket PATH``."""
    parser = argparse.ArgumentParser(description="The record side of a site.")
    parser.add_argument("--folder", type=Path, required=True, help="the study's folder at the site")
    parser.add_argument("--socket", type=Path, required=True, help="the Unix socket to answer on")
    chosen = parser.parse_args(words)
    import torch

    from site_client.agent import SiteAgent
    from site_client.site_folder import SiteFolder

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    torch.set_num_threads(1)  # sums must not depend on the number of cores
    serve(chosen.socket, SiteAgent(SiteFolder(chosen.folder)).handle)


if __name__ == "__main__":
    main()
