"""The gateway's end of the Unix socket: bytes to the record side, bytes back."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path
from typing import Final

from federation.errors import TransportError
from site_client.frames import receive_frame, send_frame
from site_client.gateway_notice import notice_of

_LOG: Final = logging.getLogger("cohortium.gateway")
_PAUSE_SECONDS: Final = 0.1
_ANSWERING_SECONDS: Final = 5.0
"""An agent that shows a stranger out, or dies at once, does so faster."""
_NOTICE_SECONDS: Final = 5.0


class AgentClient:
    """Reaches a site's agent.

    Args:
        path: The agent's socket.
        patience_seconds: How long to wait for an agent that is not there; its supervisor may be starting it again, and on a busy
            machine it takes minutes to import what it needs. The time that an agent takes to answer does not count.
    """

    def __init__(self, path: Path, *, patience_seconds: float = 300.0) -> None:
        self._path = path
        self._patience_seconds = patience_seconds

    def handle(self, request: bytes) -> bytes:
        """Ask, and ask again with the same bytes if the agent dies meanwhile: it answers a repeated request with the same bytes.

        Raises:
            TransportError: If no agent answers.
        """
        end = time.monotonic() + self._patience_seconds
        while True:
            asked = time.monotonic()
            try:
                return self._exchanged(request)
            except OSError as failure:
                now = time.monotonic()
                if (
                    now - asked > _ANSWERING_SECONDS
                ):  # it was at work when it died: its supervisor gets the whole time again
                    end = now + self._patience_seconds
                if now > end:
                    raise TransportError(
                        f"expected the site's agent to answer on its socket, got {type(failure).__name__}",
                        remedy="see the agent's log",
                    ) from None
                _LOG.debug("no answer of the agent (%s); it is asked again", type(failure).__name__)
                time.sleep(_PAUSE_SECONDS)

    def _exchanged(self, request: bytes) -> bytes:
        with self._connected() as connection:
            send_frame(connection, request)
            return receive_frame(connection)

    def notify(self, reason: str) -> None:
        """Tell the agent that a run was refused, so that it is in the audit log. An agent that is away is not told."""
        try:
            connection = self._connected()
            with connection:
                connection.settimeout(_NOTICE_SECONDS)
                send_frame(connection, notice_of(reason))
                receive_frame(connection, maximum_bytes=0)
        except (OSError, TransportError) as failure:
            _LOG.info("the agent could not be told of a refused run: %s", type(failure).__name__)

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        return connection
