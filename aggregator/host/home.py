"""The settings document of an aggregator's host; :mod:`aggregator.host.home_paths` says where it lies."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from federation.documents import Document
from federation.governance.enrolment import GateAddress
from federation.identifiers import SiteId

LOOPBACK: Final = "127.0.0.1"
_MEBIBYTE: Final = 1024 * 1024

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class GateLimits(Document):
    """What the gate lets one site, or one address, do."""

    largest_body: Annotated[int, Field(ge=1024, le=64 * _MEBIBYTE)] = 8 * _MEBIBYTE
    """Bytes of a request's body; Flower's objects travel in pieces of 5 MB."""
    requests_per_second: Annotated[float, Field(gt=0, le=10_000)] = 50.0
    """Of one site, in the long run; an idle SuperNode sends two."""
    burst: Count = 200
    """Requests of one site at once, before the rate counts."""
    in_flight: Count = 24
    """Requests of one site under way; Flower moves up to eight objects at once."""
    connections: Count = 512
    """Of everybody."""
    connections_per_address: Count = 32
    """Of one network address, handshakes included."""
    handshake_seconds: Seconds = 10.0
    header_seconds: Seconds = 10.0
    """For the whole head of a request, and between requests."""
    idle_seconds: Seconds = 15.0
    """Without a byte of a body that is under way."""
    slowest_bytes_per_second: Annotated[int, Field(ge=1)] = 16 * 1024
    """Of bodies and answers, beyond ``idle_seconds``."""
    upstream_seconds: Seconds = 60.0
    """For the SuperLink to answer."""


class AggregatorHome(Document):
    """Content of ``aggregator.json``, written by ``cohortium aggregator init``."""

    consortium: SiteId
    gate: GateAddress
    """What sites connect to: a public name and port."""
    listen: GateAddress
    """The interface and port where the gate listens."""
    superlink_port: Port
    mlflow_port: Port
    health_port: Port
    """Of this host's ``/health`` and ``/metrics``."""
    gate_health_port: Port
    """The same of the gate's process."""
    limits: GateLimits = GateLimits()
    reread_seconds: Annotated[float, Field(gt=0, le=5)] = 5.0
    """How often the lists of members and revocations are read again."""
    answer_seconds: Seconds = 3600.0
    """How long a site may take to answer one request of the coordinator."""
    tracking: bool = True
    """Whether an MLflow server runs here."""
