"""One message on a Unix socket: its length in eight bytes, then its bytes."""

from __future__ import annotations

import socket
from typing import Final

from federation.errors import TransportError
from federation.protocol.messages import MAXIMUM_BYTES

_LENGTH_BYTES: Final = 8
_CHUNK_BYTES: Final = 2**20


def send_frame(connection: socket.socket, content: bytes) -> None:
    """Send one message.

    Raises:
        OSError: If the other end is gone.
    """
    connection.sendall(len(content).to_bytes(_LENGTH_BYTES, "little"))
    connection.sendall(content)


def receive_frame(connection: socket.socket, *, maximum_bytes: int = MAXIMUM_BYTES) -> bytes:
    """Receive one message. Memory grows with what arrives, never with what was announced.

    Raises:
        ConnectionError: If the other end closes before the message is whole.
        TransportError: If it announces more than ``maximum_bytes``.
    """
    length = int.from_bytes(_exactly(connection, _LENGTH_BYTES), "little")
    if length > maximum_bytes:
        raise TransportError(f"expected a message of at most {maximum_bytes} bytes, got one of {length}")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        part = connection.recv(min(_CHUNK_BYTES, length - len(received)))
        if not part:
            raise ConnectionResetError(f"expected {length} bytes, the other end closed after {len(received)}")
        received += part
    return bytes(received)
