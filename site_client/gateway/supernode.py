"""The gateway's process: a Flower SuperNode that answers its messages with the forwarding app.

Stock Flower starts a Python process for every message (seconds of CPU each). Here the loop that has fetched a message hands it
to the app itself and sends the reply (:class:`~site_client.gateway.app.InPlace`). What a study's app bundle names is never loaded:
the code that runs is installed. Where Flower's loop is not as expected, a resident :class:`Executor` takes tasks over its
Runtime API on loopback, authenticated by a shared secret, at Flower's own pace.

Which runs are answered, and how the gate is reached, is :mod:`site_client.gateway.guard`'s.

The process is crash-only: whatever ends Flower's main loop, its heartbeat or the executor ends the process, and its supervisor
starts it again. Where nothing ends and nothing moves, :mod:`site_client.gateway.watchdog` ends it.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from flwr.clientapp import ClientApp
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.object_store import ObjectStore
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.nodestate import NodeState
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from federation.durable_files import write_durably
from site_client.event_log import log_event, log_to_stderr
from site_client.gateway import guard
from site_client.gateway.agent_client import AgentClient
from site_client.gateway.app import Handler, InPlace, Insert, answer_of, forwarding_app
from site_client.gateway.gate_client import gate_client, watched_client
from site_client.gateway.gate_files import GateFiles
from site_client.gateway.pauses import LONGEST_PAUSE, Pauses
from site_client.gateway.watchdog import Progress, watch

_LOG: Final = logging.getLogger("cohortium.gateway")
_RENEWAL_SECONDS: Final = 5.0
"""Between two looks at the certificate."""


class Executor:
    """Takes the SuperNode's tasks, one after another, and answers them.

    Args:
        address: Of the SuperNode's Runtime API.
        secret: Shared with the SuperNode.
        app: What answers.
        progress: Is told of every step.
    """

    def __init__(self, address: str, *, secret: bytes, app: ClientApp, progress: Progress) -> None:
        self._address = address
        self._app = app
        self._progress = progress
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
            if not (self._progress.has_message and self._answered()):
                time.sleep(LONGEST_PAUSE)

    def _answered(self) -> bool:
        found = self._tasks.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        if not (found.HasField("task") and found.token):
            return False
        self._answer(found.token)
        return True

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
            message, context, _, _ = self._progress.step(pull_task_input)(client)
            reply = answer_of(self._app, message, context)
            self._progress.step(push_message)(client, reply, context)
            alive.stop()
            push_task_output(client=client, context=context, sub_status=SubStatus.COMPLETED, details="")
        finally:
            if alive.is_running:
                alive.stop()
            client.close()


def main(words: Sequence[str] | None = None, *, is_accepted: Callable[[], bool] = lambda: True) -> None:
    """``python -m site_client.gateway.supernode --site SITE --socket PATH --superlink ADDRESS --port PORT``.

    Args:
        words: Instead of the command line's.
        is_accepted: Whether the installed code is what the site has accepted. :mod:`site_client.gateway_process` says how it knows.
    """
    chosen = _parser().parse_args(words)
    log_to_stderr()
    for chatty in ("flwr", "httpx", "uvicorn"):
        logging.getLogger(chatty).propagate = False  # they write by themselves
    agent = AgentClient(chosen.socket)
    progress = Progress()
    folder: Path | None = chosen.files
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    files = None if folder is None else GateFiles.of(folder, proxy=proxy)
    if files is not None:
        files.context()  # what is missing is said here, not by Flower
    client = watched_client(progress) if files is None else gate_client(files, progress)
    guard.install(client=client, notify=agent.notify, progress=progress, is_accepted=is_accepted)
    secret: Path = chosen.secret if files is None else _secret(files)
    app = forwarding_app(site_of=lambda _: chosen.site, handler_of=lambda _: _at_work(agent.handle, progress))
    threading.excepthook = _end
    if guard.pace_as_expected():
        _answer_in_place(app)
    else:
        executor = Executor(f"127.0.0.1:{chosen.port}", secret=secret.read_bytes(), app=app, progress=progress)
        threading.Thread(target=executor.run, name="executor", daemon=True).start()
    threading.Thread(target=watch, args=(progress, _leave_stuck), name="watchdog", daemon=True).start()
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


def _at_work(handle: Handler, progress: Progress) -> Handler:
    def handled(request: bytes) -> bytes:
        with progress.working():
            return handle(request)

    return handled


def _answer_in_place(app: ClientApp) -> None:
    pauses, in_place = Pauses(), InPlace(app)

    def answer(state: NodeState, objects: ObjectStore, insert: Insert) -> None:
        in_place(state, objects, insert)
        pauses.message_came()

    guard.hasten(pauses=pauses, answer=answer)


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


def _leave_stuck(reason: str) -> None:
    log_event(_LOG, logging.ERROR, "leaving", reason=f"stuck_{reason}")
    logging.shutdown()
    os._exit(1)


def _end(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread else "a thread"
    _LOG.error("%s ended: %s", name, failed.exc_type.__name__)
    logging.shutdown()
    os._exit(1)


if __name__ == "__main__":
    main()
