"""Who is at the other end of a Unix socket: the kernel says so, not the peer (``SO_PEERCRED``, unix(7))."""

from __future__ import annotations

import socket
import struct
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user, group."""


def peer_user(connection: socket.socket) -> int:
    """The user, as a number, of the process that connected.

    Raises:
        OSError: If the kernel does not say; no other system than Linux does.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        raise OSError("this system does not say who connects to a Unix socket")
    content = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(content)[1])
