"""Whether this process could reach a network at all."""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

from federation.errors import ConfigurationError

_GET_FLAGS: Final = 0x8913
"""``SIOCGIFFLAGS`` (netdevice(7))."""
_UP: Final = 0x1
_LOOPBACK: Final = 0x8
_NAME_BYTES: Final = 16


def networks_up() -> tuple[str, ...]:
    """The network interfaces of this process's network namespace that are up, loopback apart."""
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            flags = _flags(probe, name)
            if flags & _UP and not flags & _LOOPBACK:
                found.append(name)
    return tuple(found)


def check_no_network() -> None:
    """Refuse to go on where there is a network.

    Raises:
        ConfigurationError: If an interface beside loopback is up.
    """
    found = networks_up()
    if found:
        raise ConfigurationError(
            f"expected no network for the record side, got {', '.join(found)}",
            remedy="start it with `cohortium site start`, in a container without network, or under `unshare --net`",
        )


def _flags(probe: socket.socket, name: str) -> int:
    request = struct.pack(f"{_NAME_BYTES}sH14x", name.encode()[: _NAME_BYTES - 1], 0)
    try:
        answer = fcntl.ioctl(probe.fileno(), _GET_FLAGS, request)
    except OSError:
        return _UP  # an interface that does not say what it is counts as a network
    return int(struct.unpack_from("H", answer, _NAME_BYTES)[0])
