"""The gateway's process: a Flower SuperNode, and beside it the executor that answers its messages with the forwarding app.

Stock Flower starts a Python process for every message (seconds of CPU each). Here the SuperNode runs with ``--isolation process``
and a resident executor takes its tasks over the SuperNode's Runtime API on loopback, authenticated by a shared secret.
What a study's app bundle names is never loaded: the code that runs is installed.

Which runs are answered, and how the gate is reached, is :mod:`site_client.gateway.guard`'s.

The process is crash-only: Flower's main loop, its heartbeat or the executor ending for whatever reason ends the process, and its
supervisor starts it again. Otherwise a process could stay that looks alive and answers nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flwr.app import Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode, SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from federation.durable_files import write_durably
from federation.errors import TransportError
from site_client.event_log import log_event, log_to_stderr
from site_client.gateway import guard
from site_client.gateway.agent_client import AgentClient
from site_client.gateway.app import forwarding_app
from site_client.gateway.gate_client import gate_client
from site_client.gateway.gate_files import GateFiles

_LOG: Final = logging.getLogger("cohortium.gateway")
_SHORTEST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_FETCH_SECONDS: Final = 5.0
"""For the executor to get a message from the SuperNode beside it."""
_RENEWAL_SECONDS: Final = 5.0
"""Between two looks at the certificate."""


class Pauses:
    """Stands in for ``time`` in the SuperNode's main loop, and tells the executor when a message is whole.

    Flower sleeps three seconds when there is no message; here pauses begin short and grow, up to half a second, while there is no
    work. It sleeps half a second while it waits for a reply: only then has the message been fetched, and an executor that cannot
    get it never will. That happens to what was under way when a SuperLink died; the process ends, and the coordinator asks again.
    """

    def __init__(self) -> None:
        self._next = _SHORTEST_PAUSE
        self.is_awaited = threading.Event()
        self.fetching_since: float | None = None

    def sleep(self, seconds: float) -> None:
        """Sleep, but not as long."""
        if seconds < 1:
            self.is_awaited.set()
            since = self.fetching_since
            if since is not None and time.monotonic() - since > _FETCH_SECONDS:
                raise TransportError("expected the executor to get the message that is here, it does not")
            time.sleep(_SHORTEST_PAUSE)
            self._next = _SHORTEST_PAUSE
        else:
            self.is_awaited.clear()
            time.sleep(self._next)
            self._next = min(self._next * 1.3, _LONGEST_PAUSE)


class Executor:
    """Takes the SuperNode's tasks, one after another, and answers them.

    Args:
        address: Of the SuperNode's Runtime API.
        secret: Shared with the SuperNode.
        app: What answers.
        pauses: Tells when a reply is awaited.
    """

    def __init__(self, address: str, *, secret: bytes, app: ClientApp, pauses: Pauses) -> None:
        self._address = address
        self._app = app
        self._pauses = pauses
        authentication = SuperExecAuthHttpInterceptor(
            master_secret=secret, protected_methods=("/flwr.proto.Runtime/AcquireTask",)
        )
        self._tasks = RuntimeHttpClient.from_server_address(
            address,
            insecure=True,
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec"), authentication],
        )

    def run(self) -> None:
        """Answer tasks for ever."""
        while True:
            self._pauses.is_awaited.wait()
            found = self._tasks.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
            if found.HasField("task") and found.token:
                self._answer(found.token)
            else:
                time.sleep(_SHORTEST_PAUSE)

    def _answer(self, token: str) -> None:
        client = RuntimeHttpClient.from_server_address(
            self._address,
            insecure=True,
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
                RuntimeTokenHttpInterceptor(token),
            ],
        )
        alive = HeartbeatSender(make_task_heartbeat_fn_http(client))
        alive.start()
        try:
            self._pauses.fetching_since = time.monotonic()
            message, context, _, _ = pull_task_input(client)
            self._pauses.fetching_since = None
            try:
                reply = self._app(message=message, context=context)
            except Exception as failure:  # noqa: BLE001 - the text may hold anything; only the class leaves
                reply = Message(
                    Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=type(failure).__name__), reply_to=message
                )
            push_message(client, reply, context)
            alive.stop()
            push_task_output(client=client, context=context, sub_status=SubStatus.COMPLETED, details="")
        finally:
            if alive.is_running:
                alive.stop()
            client.close()


def main(words: Sequence[str] | None = None) -> None:
    """``python -m site_client.gateway.supernode --site SITE --socket PATH --superlink ADDRESS --port PORT``."""
    chosen = _parser().parse_args(words)
    log_to_stderr()
    for chatty in ("flwr", "httpx", "uvicorn"):
        logging.getLogger(chatty).propagate = False  # they write by themselves
    agent = AgentClient(chosen.socket)
    pauses = Pauses()
    folder: Path | None = chosen.files
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    files = None if folder is None else GateFiles.of(folder, proxy=proxy)
    if files is not None:
        files.context()  # what is missing is said here, not by Flower
    guard.install(pauses=pauses, client=None if files is None else gate_client(files), notify=agent.notify)
    secret: Path = chosen.secret if files is None else _secret(files)
    executor = Executor(
        f"127.0.0.1:{chosen.port}",
        secret=secret.read_bytes(),
        app=forwarding_app(site_of=lambda _: chosen.site, handler_of=lambda _: agent.handle),
        pauses=pauses,
    )
    threading.excepthook = _end
    threading.Thread(target=executor.run, name="executor", daemon=True).start()
    if files is not None:
        threading.Thread(target=_leave_when_renewed, args=(files,), name="renewal", daemon=True).start()
    sys.argv = [
        "flower-supernode", "--superlink", chosen.superlink, "--isolation", "process",
        "--host", "127.0.0.1", "--port", chosen.port, "--superexec-auth-secret-file", str(secret),
    ]  # fmt: skip
    sys.argv += (
        ["--insecure"]
        if files is None
        else ["--root-certificates", str(files.authority), "--auth-supernode-private-key", str(files.node_key)]
    )
    log_event(_LOG, logging.INFO, "started", number=os.getpid())
    try:
        flower_supernode()
    finally:
        log_event(_LOG, logging.WARNING, "leaving")
        logging.shutdown()
        os._exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The network side of a site.")
    parser.add_argument("--site", required=True)
    parser.add_argument("--socket", type=Path, required=True, help="the agent's Unix socket")
    parser.add_argument("--superlink", required=True, help="host:port of the gate, or of a SuperLink on this machine")
    parser.add_argument("--port", required=True, help="of the SuperNode's Runtime API, on loopback")
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument("--files", type=Path, help="the site's gateway folder: keys and certificates for the gate")
    trust.add_argument("--secret", type=Path, help="file shared with a SuperLink on this machine, without TLS")
    return parser


def _secret(files: GateFiles) -> Path:
    """A secret of this process, for its SuperNode and its executor."""
    write_durably(files.secret, secrets.token_bytes(32), secret=True)
    return files.secret


def _leave_when_renewed(files: GateFiles) -> None:
    """A renewed certificate is read at a new start; what is under way is asked for again."""

    def changed_at() -> int:
        return max(path.stat().st_mtime_ns for path in (files.authority, files.certificate, files.key))

    first = changed_at()
    while changed_at() == first:
        time.sleep(_RENEWAL_SECONDS)
    log_event(_LOG, logging.INFO, "leaving", reason="renewed")
    logging.shutdown()
    os._exit(1)


def _end(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread else "a thread"
    _LOG.error("%s ended: %s", name, failed.exc_type.__name__)
    logging.shutdown()
    os._exit(1)


if __name__ == "__main__":
    main()
