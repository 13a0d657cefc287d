"""The coordinator's own way into a SuperLink: it starts a Flower run, claims the run's task itself and speaks through its grid.

No `flwr run`, no ServerApp process and no code in the app bundle: the coordinator is the installed package, and a Flower run
is only transport. When the SuperLink restarts, or forgets the run, :class:`Link` starts another one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx
from flwr.app import Message
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto, run_from_proto
from flwr.proto.control_pb2 import StartRunRequest, StopRunRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PullObjectResponse
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.retry import RetryInvoker, exponential
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from aggregator.flower_messages import RepliesOnTheirWay
from federation.protocol.flower_bundle import BUNDLE

_LOG: Final = logging.getLogger("cohortium.coordinator")
_HEARTBEAT_SECONDS: Final = 10.0
_Client = TypeVar("_Client", bound=ProtobufClient)


class LinkGrid(HttpGrid):
    """Flower's grid, with errors as data instead of endless retries and signals to the own process, and never waiting for one site.

    Every method raises `ConnectionError` when the SuperLink is gone or does not know the run any more.
    """

    def __init__(self, address: str, *, token: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(address, insecure=True, token=token)
        self._headers = headers or {}
        self._replies = RepliesOnTheirWay()
        self._retry_invoker = RetryInvoker(
            lambda: exponential(max_delay=1), httpx.TransportError, max_tries=2, max_time=None
        )
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def _connect(self) -> None:
        super()._connect()
        if self._client is not None:
            with_headers(self._client, self._headers)

    def begin(self) -> None:
        """Take the task's input: from now on the run is running."""
        with _Translated():
            found = self._runtime_client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id = found.task_id
        TaskIdentity.run_id = found.run.run_id
        TaskIdentity.node_id = found.context.node_id
        self.set_run(run_from_proto(found.run))
        self._heart.start()

    def _beat(self) -> None:
        while not self._stop.wait(_HEARTBEAT_SECONDS):
            try:
                self._runtime_client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except (httpx.HTTPError, RunNotRunningException, RuntimeError) as failure:
                _LOG.info("heartbeat failed: %s", type(failure).__name__)  # the next call of the coordinator finds out

    def get_node_ids(self) -> Iterable[int]:
        """Nodes that are connected."""
        with _Translated():
            return super().get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages."""
        with _Translated():
            return super().push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The next reply that has arrived, whole, if there is one."""
        with _Translated():
            wanted = self._replies.without_announced(list(message_ids))
            found = self._replies.take(self._pull_part)
            if found is None and wanted:
                response = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=wanted))
                for message, tree in zip(response.messages_list, response.message_object_trees, strict=True):
                    self._replies.announce(message, tree)
                found = self._replies.take(self._pull_part)
            if found is None:
                return []
            if found.metadata.message_id:
                self._confirm(found)
            return [found]

    def _pull_part(self, identifier: str) -> PullObjectResponse:
        return self._runtime_client.PullObject(
            PullObjectRequest(node=self.node, run_id=self.run.run_id, object_id=identifier)
        )

    def _confirm(self, message: Message) -> None:
        """Let the SuperLink forget it."""
        self._runtime_client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=self.node, run_id=self.run.run_id, message_object_id=message.metadata.message_id
            )
        )

    def close(self) -> None:
        """Stop the heartbeat and disconnect."""
        self._stop.set()
        super().close()


class _Translated:
    """Flower's ways to say that the link is lost, as `ConnectionError`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(failure, httpx.HTTPError | RunNotRunningException):
            raise ConnectionError(f"the SuperLink does not answer: {type(failure).__name__}") from failure


class Link:
    """One Flower run at a time, opened again when it is lost.

    Args:
        address: ``host:port`` of the SuperLink.
        secret: The SuperLink's SuperExec secret.
        headers: Of every request: a deployment's SuperLink asks its callers for a token.
    """

    def __init__(self, address: str, *, secret: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._address = address
        self._secret = secret
        self._headers = headers or {}
        self._grid: LinkGrid | None = None
        self._run: int | None = None

    def open(self) -> LinkGrid:
        """Stop the last run, start another and take a task.

        A node may be waiting for the rest of a message that was being sent when the link broke: it goes on when its run has ended.
        The task may be of another run than the one that was just started: of one whose start was never confirmed, or of another
        coordinator, who then gets ours. Any will do; the one that was claimed is the one that this link speaks through and stops.

        Raises:
            ConnectionError: If the SuperLink does not answer.
        """
        self.close()
        with _Translated():
            if self._run is not None:
                self._stop_run(self._run)
                self._run = None
            self._start_run()
            self._grid = self._claimed()
        return self._grid

    def close(self) -> None:
        """Leave the run. Safe to call twice."""
        if self._grid is not None:
            self._grid.close()
            self._grid = None

    def _start_run(self) -> None:
        content, _ = build_fab_from_files({"pyproject.toml": BUNDLE})
        client = control_client(self._address, headers=self._headers)
        try:
            client.StartRun(StartRunRequest(fab=fab_to_proto(Fab("", content, {}))))
        finally:
            client.close()

    def _stop_run(self, run: int) -> None:
        client = control_client(self._address, headers=self._headers)
        try:
            client.StopRun(StopRunRequest(run_id=run))
        except httpx.HTTPStatusError as failure:
            _LOG.info("run %d was over: %s", run, failure.response.status_code)
        finally:
            client.close()

    def _claimed(self) -> LinkGrid:
        authentication = SuperExecAuthHttpInterceptor(
            master_secret=self._secret, protected_methods=("/flwr.proto.Runtime/AcquireTask",)
        )
        client = RuntimeHttpClient.from_server_address(
            self._address,
            insecure=True,
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec"), authentication],
        )
        with_headers(client, self._headers)
        try:
            found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
        finally:
            client.close()
        if not found.token:
            raise ConnectionError("the SuperLink has no task for the run that was started")
        self._run = found.task.run_id
        grid = LinkGrid(self._address, token=found.token, headers=self._headers)
        grid.begin()
        return grid


def control_client(address: str, *, headers: Mapping[str, str]) -> ControlHttpClient:
    """A client of the SuperLink's Control API.

    Args:
        address: ``host:port`` of the SuperLink.
        headers: As of :class:`Link`.
    """
    client = ControlHttpClient.from_server_address(
        address,
        insecure=True,
        root_certificates=None,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-cli")],
    )
    return with_headers(client, headers)


def with_headers(client: _Client, headers: Mapping[str, str]) -> _Client:
    """Let every request of a client carry headers. Flower's clients have no setting for them."""
    client._client.headers.update(headers)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - see above
    return client
