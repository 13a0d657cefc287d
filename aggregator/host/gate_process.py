"""The gate's process."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import logging
import logging.handlers
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx

from aggregator.host.gate import TOKEN_HEADER, Gate
from aggregator.host.gate_limits import GateCounts
from aggregator.host.health import HealthServer
from aggregator.host.home import LOOPBACK, AggregatorHome
from aggregator.host.home_paths import HostLayout, read_small
from aggregator.host.listener import Listener
from aggregator.host.revocation import Membership
from federation.errors import ConfigurationError

_ACCESS_BYTES: Final = 10 * 1024 * 1024
_ACCESS_FILES: Final = 10


def main(words: Sequence[str] | None = None) -> None:
    """``python -m conf.processes.child aggregator.host.gate_process:main --home FOLDER``."""
    parser = argparse.ArgumentParser(description="The gate in front of the SuperLink.")
    parser.add_argument("--home", type=Path, required=True)
    layout = HostLayout(parser.parse_args(words).home)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for chatty in ("asyncio", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)  # what peers do wrong is counted, not traced
    _log_access(layout)
    asyncio.run(run_gate(layout, layout.read()))


async def run_gate(layout: HostLayout, home: AggregatorHome) -> None:
    """Serve until the process ends.

    Raises:
        ConfigurationError: If the public address cannot be bound.
    """
    counts = GateCounts()
    membership = Membership(layout, clock=time.monotonic, now=_now, reread_seconds=home.reread_seconds, keep_floor=True)
    listening = bind(home.listen)
    token = read_small(layout.gate_token, what="the gate's token").decode()
    async with httpx.AsyncClient(
        base_url=f"http://{LOOPBACK}:{home.superlink_port}",
        headers={TOKEN_HEADER: token},
        timeout=httpx.Timeout(home.limits.upstream_seconds, connect=5.0),
        limits=httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=3.0),
        trust_env=False,
        follow_redirects=False,
    ) as upstream:
        gate = Gate(membership, home.limits, upstream=upstream, counts=counts)
        listener = Listener(
            gate=gate,
            membership=membership,
            layout=layout,
            limits=home.limits,
            counts=counts,
            reread_seconds=home.reread_seconds,
        )

        def health() -> dict[str, object]:
            membership.current()
            problems = [membership.problem] if membership.problem else []
            return {"process": "gate", "connections": counts.connections, "problems": problems}

        with HealthServer(home.gate_health_port, health=health, metrics=counts.as_metrics):
            await listener.serve(listening)


def bind(address: str) -> socket.socket:
    """A socket bound to ``host:port``; the host may be an IPv6 address in brackets.

    Raises:
        ConfigurationError: If the address is not this machine's, or taken.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, int(port)))
    except OSError as failure:
        listening.close()
        raise ConfigurationError(
            f"expected to listen on {address}, got: {failure.strerror}",
            remedy="correct `listen` in aggregator.json, or end what uses the port",
        ) from failure
    return listening


def _log_access(layout: HostLayout) -> None:
    """One JSON object per request in ``logs/access.jsonl``, rotated. No bodies, no keys, no addresses."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        layout.logs / "access.jsonl", maxBytes=_ACCESS_BYTES, backupCount=_ACCESS_FILES
    )
    handler.setFormatter(_JsonLine())
    access = logging.getLogger("cohortium.gate.access")
    access.addHandler(handler)
    access.propagate = False


class _JsonLine(logging.Formatter):
    """The record's own JSON object, with the time in front."""

    def format(self, record: logging.LogRecord) -> str:
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        return f'{{"time": "{at}", {record.getMessage()[1:]}'


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)
