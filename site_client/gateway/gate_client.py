"""Flower's client of the Fleet API, as it reaches the consortium's gate: with the site's certificate, through the named proxy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

import httpx
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse, DeactivateNodeRequest
from flwr.supercore.protobuf.client import ProtobufClientInterceptor, ProtobufRequestContext
from flwr.supercore.retry import RetryInvoker
from flwr.supernode.fleet_http_client import FleetHttpClient

from federation.durable_files import write_durably
from federation.errors import TransportError
from site_client.event_log import log_event
from site_client.gateway.gate_files import GateFiles
from site_client.gateway.watchdog import Progress

_LOG: Final = logging.getLogger("cohortium.gateway")
_UNAUTHORISED: Final = 401
_HEARTBEAT: Final = "/SendNodeHeartbeat"
_LONGEST_NODE: Final = 20
"""Digits of a node's number, 64 bits."""


def _counted(progress: Progress, context: ProtobufRequestContext) -> AbstractContextManager[None]:
    """A request counts while it is under way, but the heartbeat's: it has its own thread, and says nothing about messages."""
    return nullcontext() if context.rpc_method.endswith(_HEARTBEAT) else progress.request()


def watched_client(progress: Progress) -> type[FleetHttpClient]:
    """Flower's Fleet client, without TLS, for a SuperLink on this machine.

    Args:
        progress: Is told of every request.
    """

    class WatchedClient(FleetHttpClient):
        """Flower makes it from an address."""

        def _send(self, context: ProtobufRequestContext, *, stream: bool = False) -> httpx.Response:
            """As Flower sends."""
            with _counted(progress, context):
                return super()._send(context, stream=stream)

    return WatchedClient


def gate_client(files: GateFiles, progress: Progress) -> type[FleetHttpClient]:
    """Flower's Fleet client, as it reaches the gate. Certificates are read when it connects.

    Args:
        files: Of the site.
        progress: As of :func:`watched_client`.
    """

    class GateClient(FleetHttpClient):
        """Flower makes it from an address."""

        @classmethod
        def from_server_address(
            cls,
            server_address: str,
            insecure: bool,  # noqa: FBT001 - Flower's signature
            root_certificates: bytes | str | None,  # noqa: ARG003 - ours are read from our files
            interceptors: Sequence[ProtobufClientInterceptor],
            *,
            retry_invoker: RetryInvoker | None = None,
        ) -> GateClient:
            """Connect with the site's certificate."""
            if insecure:
                raise TransportError("expected TLS towards the gate, got a connection without it")
            address = f"https://{server_address}"
            client = cls(address, interceptors=interceptors, verify=files.context(), retry_invoker=retry_invoker)
            client._client.close()
            client._client = files.http(address)
            return client

        def _send(self, context: ProtobufRequestContext, *, stream: bool = False) -> httpx.Response:
            """As Flower sends; what the gate says no to is in the log."""
            with _counted(progress, context):
                response = super()._send(context, stream=stream)
            if response.status_code == _UNAUTHORISED:
                log_event(_LOG, logging.ERROR, "gate_refused", reason="unauthorised")
            return response

        def ActivateNode(self, request: ActivateNodeRequest) -> ActivateNodeResponse:  # noqa: N802 - Flower's name
            """Begin to receive messages.

            After a gateway was killed, the SuperLink believes for a minute that its node is there, and refuses it: the old
            one is taken away first.
            """
            try:
                response = super().ActivateNode(request)
            except httpx.HTTPStatusError as refused:
                last = _last_node(files.node)
                if last is None or refused.response.status_code == _UNAUTHORISED:
                    raise
                log_event(_LOG, logging.INFO, "node_replaced")
                self.DeactivateNode(DeactivateNodeRequest(node_id=last))
                response = super().ActivateNode(request)
            write_durably(files.node, str(response.node_id).encode())
            log_event(_LOG, logging.INFO, "connected")
            return response

    return GateClient


def _last_node(path: Path) -> int | None:
    try:
        text = path.read_bytes()[: _LONGEST_NODE + 1].decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() and len(text) <= _LONGEST_NODE else None
