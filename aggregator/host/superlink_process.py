"""Flower's SuperLink, started with our settings: loopback, node keys required, nothing installed, no calls home.

Its command refuses node authentication without TLS, and this listener needs none: only processes of this host reach it. Its
application is therefore built here, from the same parts. Around it stands one check: the Control and Runtime APIs of the
open-source SuperLink ask for no account, so that any user of the machine could start runs; here they need a token that only
processes of this host can read, and the gate's token opens the gate's routes only.
"""

from __future__ import annotations

import argparse
import hmac
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvicorn
from flwr.common.constant import ISOLATION_MODE_PROCESS, TRANSPORT_TYPE_GRPC_RERE
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app
from starlette.types import ASGIApp, Receive, Scope, Send

from aggregator.host.gate import FLEET_ROUTES, TOKEN_HEADER
from aggregator.host.home import LOOPBACK
from aggregator.host.home_paths import HostLayout, read_small

_HEALTH: Final = "/health"
_SECONDS_TO_LEAVE: Final = 2


class TokenCheck:
    """Lets a request through if it carries a token that opens its route.

    Args:
        app: Flower's application.
        gate_token: Opens the gate's routes.
        control_token: Opens every route.
    """

    def __init__(self, app: ASGIApp, *, gate_token: str, control_token: str) -> None:
        self._app = app
        self._gate_token = gate_token.encode()
        self._control_token = control_token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] == "http" and scope["path"] != _HEALTH and not self._opens(scope):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)

    def _opens(self, scope: Scope) -> bool:
        tokens = [value for name, value in scope["headers"] if name == TOKEN_HEADER.encode()]
        shown = tokens[0] if len(tokens) == 1 else b""
        if hmac.compare_digest(shown, self._control_token):
            return True
        return scope["path"] in FLEET_ROUTES and hmac.compare_digest(shown, self._gate_token)


def main(words: Sequence[str] | None = None) -> None:
    """``python -m conf.processes.child aggregator.host.superlink_process:main --home FOLDER``."""
    parser = argparse.ArgumentParser(description="Flower's SuperLink on loopback.")
    parser.add_argument("--home", type=Path, required=True)
    layout = HostLayout(parser.parse_args(words).home)
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    flower = logging.getLogger("flwr")
    flower.propagate = False  # it writes by itself
    flower.setLevel(logging.WARNING)
    port = layout.read().superlink_port
    config = SuperLinkLifespanConfig(
        control_address=f"{LOOPBACK}:{port}",
        health_server_address=None,
        host=LOOPBACK,
        port=port,
        insecure=True,
        certificates=None,
        superexec_auth_secret=read_small(layout.executor_secret, what="the executors' secret"),
        authn_plugin=NoOpControlAuthnPlugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=None,
        ssl_certfile=None,
        ssl_keyfile=None,
        database=str(layout.superlink_database),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
    guarded = TokenCheck(
        create_app(config, SuperLinkLifespan),
        gate_token=read_small(layout.gate_token, what="the gate's token").decode(),
        control_token=read_small(layout.control_token, what="the token of this host's processes").decode(),
    )
    uvicorn.run(
        guarded,
        host=LOOPBACK,
        port=port,
        workers=1,  # its state lives in one process
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_LEAVE,
    )
