"""All that the gateway changes inside Flower 1.41: which runs it answers, how it reaches the gate, how long it waits.

A run is refused before anything of it is fetched, unless it ships exactly the bundle that is installed here and no configuration.
The bundle itself is never fetched at all: the installed one is used. Flower has no settings for any of this, so names of its
modules are replaced, and each is looked at first. Two kinds of change fail in two ways:

- **Safety**, :func:`check_flower`: which runs are answered, and how the gate is reached. If a name is not as expected, the gateway
  does not start.
- **Pace**, :func:`pace_as_expected`: shorter pauses, and messages answered in the loop that has fetched them instead of over
  Flower's Runtime API. If a name is not as expected, the gateway says so and runs at Flower's own pace.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from importlib import metadata
from types import ModuleType
from typing import Any, Final

from flwr.app import Error, Message
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError
from flwr.supercore.object_store import ObjectStore
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.retry import http_retry
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.nodestate import NodeState

from federation.errors import MissingDependencyError
from federation.protocol.flower_bundle import BUNDLE
from site_client.event_log import log_event
from site_client.gateway.app import Insert
from site_client.gateway.watchdog import Progress

_LOG: Final = logging.getLogger("cohortium.gateway")
_VERSION: Final = "1.41.0"
_LONGEST_RETRY_SECONDS: Final = 2
"""Between two attempts to reach a SuperLink that is gone; Flower's own is 20 s."""
_MOST_RUNS: Final = 1024
_CONNECTION: Final = (
    "server_address", "insecure", "root_certificates", "authentication_keys", "max_retries", "max_wait_time",
)  # fmt: skip
_LOOP: Final = (
    "state", "object_store", "node_config", "receive", "get_run", "get_fab", "pull_object", "confirm_message_received",
    "trusted_entities",
)  # fmt: skip
_CALLBACKS: Final = 8
_REPLIES: Final = ("state", "object_store", "send", "push_object")
_UNTIL_A_PART_IS_HERE: Final = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.5)
"""Seconds. A message is announced before all of its parts are at the SuperLink; Flower's first pause is a second."""

Notify = Callable[[str], None]
Answer = Callable[[NodeState, ObjectStore, Insert], None]
"""Takes the message that Flower's loop has fetched, and puts the reply there."""


def _always() -> bool:
    return True


def installed_bundle() -> Fab:
    """The one bundle that a run may ship, as Flower packs it."""
    content, _ = build_fab_from_files({"pyproject.toml": BUNDLE})
    return Fab(hashlib.sha256(content).hexdigest(), content, {})


def reason_against(run: Run, bundle: Fab) -> str | None:
    """Why a run is refused: ``bundle``, ``configuration`` or ``task``; ``None`` if it is not."""
    if run.fab_hash != bundle.hash_str:
        return "bundle"
    if run.override_config:
        return "configuration"
    if run.primary_task_type not in ("", TaskType.SERVER_APP):
        return "task"
    return None


class RunGuard:
    """Stands between Flower's main loop and the Fleet API.

    Args:
        receive: Fetches a message without its content.
        send: Sends a message without its content.
        get_run: Fetches what a run is.
        push_object: Sends a part of a message's content.
        notify: Is told the reason of each refusal.
        is_accepted: Whether the installed code is what the site has accepted; asked once for each run.
    """

    def __init__(
        self,
        *,
        receive: Callable[[], tuple[Message, ObjectTree] | None],
        send: Callable[[Message, ObjectTree, float], tuple[set[str], str]],
        get_run: Callable[[int], Run],
        push_object: Callable[[int, str, str, bytes], None],
        notify: Notify,
        is_accepted: Callable[[], bool] = _always,
    ) -> None:
        self._receive, self._send, self._get_run, self._push_object = receive, send, get_run, push_object
        self._notify, self._is_accepted = notify, is_accepted
        self._bundle = installed_bundle()
        self._allowed: dict[int, Run] = {}

    def receive(self) -> tuple[Message, ObjectTree] | None:
        """The next message of a run that is allowed; one of another run is answered with an error at once."""
        found = self._receive()
        if found is None:
            return None
        message, _ = found
        run_id = message.metadata.run_id
        if run_id in self._allowed:
            return found
        run = self._get_run(run_id)
        reason = reason_against(run, self._bundle) or (None if self._is_accepted() else "code")
        if reason is None:
            if len(self._allowed) >= _MOST_RUNS:
                self._allowed.clear()
            self._allowed[run_id] = run
            return found
        log_event(_LOG, logging.ERROR, "run_refused", reason=reason)
        self._notify(reason)
        self._refuse(message)
        return None

    def get_run(self, run_id: int) -> Run:
        """What Flower's loop asks for before it fetches code; again nothing but an allowed run is told."""
        if run_id not in self._allowed:
            raise RunNotRunningException
        return self._allowed[run_id]

    def get_fab(self, fab_hash: str, _run_id: int) -> Fab:
        """The installed bundle; nothing is fetched."""
        if fab_hash != self._bundle.hash_str:
            raise RunNotRunningException
        return self._bundle

    def _refuse(self, message: Message) -> None:
        reply = Message(Error(code=ErrorCode.INVALID_FAB, reason="RunRefused"), reply_to=message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            tree, objects = get_object_tree(reply), get_all_nested_objects(reply)
            wanted, session = self._send(reply, tree, 0.0)
            for object_id in wanted & set(objects):
                self._push_object(message.metadata.run_id, session, object_id, objects[object_id].deflate())


def check_flower() -> None:
    """Look at everything on which safety relies.

    Raises:
        MissingDependencyError: If Flower is not the version, or a name of its modules not the function, that is expected.
    """
    found = {
        "the version": metadata.version("flwr") == _VERSION,
        "http_request_response": _parameters(_name(start_client_internal, "http_request_response")) == _CONNECTION,
        "_pull_and_store_message": _parameters(_name(start_client_internal, "_pull_and_store_message")) == _LOOP,
        "FleetHttpClient": _name(fleet_http_connection, "FleetHttpClient") is FleetHttpClient
        and all(hasattr(FleetHttpClient, name) for name in ("ActivateNode", "DeactivateNode")),
        "_send": _parameters(getattr(FleetHttpClient, "_send", None)) == ("self", "context", "stream"),
        "from_server_address": _parameters(FleetHttpClient.from_server_address)
        == ("server_address", "insecure", "root_certificates", "interceptors", "retry_invoker"),
        "ProtobufClient": "_client" in inspect.getsource(ProtobufClient.__init__),
        "Run": {"fab_hash", "override_config", "primary_task_type"} <= {field.name for field in fields(Run)},
    }
    wrong = [name for name, as_expected in found.items() if not as_expected]
    if wrong:
        raise MissingDependencyError(
            f"expected Flower {_VERSION} as this gateway was written for, got another: {', '.join(wrong)}",
            remedy='install the pinned version: pip install "cohortium[site]"',
        )


def pace_as_expected() -> bool:
    """Whether everything is there that makes messages faster than Flower's own pace; if not, the log says what is missing."""
    found = {
        "time": _name(start_client_internal, "time") is time,
        "MAX_RETRY_DELAY": isinstance(_name(http_retry, "MAX_RETRY_DELAY"), int | float),
        "_push_messages": _parameters(_name(start_client_internal, "_push_messages")) == _REPLIES,
        "_insert_message": _parameters(_name(start_client_internal, "_insert_message")) == ("msg", "state", "store"),
        "get_messages_legacy": _parameters(getattr(NodeState, "get_messages_legacy", None))
        == ("self", "run_ids", "is_reply", "limit"),
    }
    wrong = [name for name, as_expected in found.items() if not as_expected]
    if wrong:
        _LOG.warning("Flower is not as expected, messages travel at its own pace: %s", ", ".join(wrong))
    return not wrong


def install(
    *,
    client: type[FleetHttpClient],
    notify: Notify,
    progress: Progress,
    is_accepted: Callable[[], bool] = _always,
) -> None:
    """Put the guard and the way to the gate into Flower, in this process.

    Args:
        client: Reaches the gate (:mod:`site_client.gateway.gate_client`).
        notify: Is told the reason when a run is refused.
        progress: Is told of every step of a message.
        is_accepted: As of :class:`RunGuard`.

    Raises:
        MissingDependencyError: As :func:`check_flower`.
    """
    check_flower()
    original: Callable[..., AbstractContextManager[tuple[Any, ...]]] = _name(
        start_client_internal, "http_request_response"
    )

    @contextmanager
    def guarded(*arguments: object, **options: object) -> Generator[tuple[Any, ...]]:
        with original(*arguments, **options) as connection:
            if len(connection) != _CALLBACKS:
                raise MissingDependencyError(f"expected {_CALLBACKS} callbacks of Flower, got {len(connection)}")
            node_id, receive, send, get_run, _, pull_object, push_object, confirm = connection
            guard = RunGuard(
                receive=receive,
                send=send,
                get_run=get_run,
                push_object=push_object,
                notify=notify,
                is_accepted=is_accepted,
            )
            yield (
                node_id, progress.receiving(guard.receive), progress.step(send), guard.get_run, guard.get_fab,
                progress.step(_patient(pull_object)), progress.step(push_object), progress.step(confirm),
            )  # fmt: skip

    _replace(start_client_internal, "http_request_response", guarded)
    _replace(fleet_http_connection, "FleetHttpClient", client)


def hasten(*, pauses: object, answer: Answer) -> None:
    """Put the pace into Flower, in this process, after :func:`pace_as_expected` has said that it fits.

    Args:
        pauses: Stands in for ``time`` in Flower's main loop.
        answer: Is called by the loop when a message is whole, before it looks for a reply.
    """
    push_replies = _name(start_client_internal, "_push_messages")
    insert = _name(start_client_internal, "_insert_message")

    def answer_and_push(
        state: NodeState, object_store: ObjectStore, send: Callable[..., Any], push_object: Callable[..., None]
    ) -> None:
        answer(state, object_store, insert)
        push_replies(state=state, object_store=object_store, send=send, push_object=push_object)

    _replace(start_client_internal, "_push_messages", answer_and_push)
    _replace(start_client_internal, "time", pauses)
    _replace(http_retry, "MAX_RETRY_DELAY", _LONGEST_RETRY_SECONDS)


def _patient(pull_object: Callable[[int, str], bytes]) -> Callable[[int, str], bytes]:
    def pulled(run_id: int, object_id: str) -> bytes:
        for pause in _UNTIL_A_PART_IS_HERE:
            try:
                return pull_object(run_id, object_id)
            except ObjectUnavailableError:
                time.sleep(pause)
        return pull_object(run_id, object_id)

    return pulled


def _name(module: ModuleType, name: str) -> Any:  # noqa: ANN401 - whatever Flower has there
    return vars(module).get(name)


def _replace(module: ModuleType, name: str, replacement: object) -> None:
    vars(module)[name] = replacement


def _parameters(function: object) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters) if callable(function) else ()
