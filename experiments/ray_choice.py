"""The settings of the `ray` engine: workers on this machine, or a cluster that runs already."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from federation.documents import Document

_HOST_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT: Final = 65535


def checked_address(address: str) -> str:
    """The address of a cluster, as ``ray start --head`` prints it.

    Args:
        address: ``HOST:PORT``; an IPv6 host in brackets.

    Raises:
        ValueError: If it is anything else, among them what Ray would take: ``auto``, ``local`` and ``ray://``.
    """
    if address.startswith("ray://"):
        message = (
            "expected HOST:PORT such as 10.0.0.5:6379, got an address of Ray Client, over which this engine does not work; run the "
            "command on a machine of the cluster"
        )
        raise ValueError(message)
    if address in ("auto", "local"):
        message = (
            f"expected HOST:PORT such as 10.0.0.5:6379, got {address!r}, which names no cluster; leave the setting out for workers "
            "on this machine alone"
        )
        raise ValueError(message)
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None or not 1 <= int(found["port"]) <= _HIGHEST_PORT:
        message = f"expected HOST:PORT such as 10.0.0.5:6379, as `ray start --head` prints it, got {address!r}"
        raise ValueError(message)
    return address


class RayEngine(Document):
    """Flower's simulation runtime on Ray."""

    kind: Literal["ray"]
    num_workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Worker processes, one processor each. ``None``: two; on a cluster one for each of its processors."""
    address: Annotated[str, AfterValidator(checked_address)] | None = None
    """``HOST:PORT`` of a cluster that runs already; ``None``: a Ray of the simulation's own, on this machine."""

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.address is not None and self.num_workers is not None:
            message = (
                f"num_workers: expected null beside address, since a cluster has a worker for each of its processors, got "
                f"{self.num_workers}; choose --num-cpus of `ray start` instead"
            )
            raise ValueError(message)
        return self
