"""Which Flower runs a gateway answers: refused before anything of them is fetched, and never by a Flower it does not know."""

from __future__ import annotations

import dataclasses
import time

import pytest
from flwr.app import Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.retry import http_retry
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.nodestate import NodeStateFactory

from federation.errors import MissingDependencyError
from site_client.gateway import guard
from site_client.gateway.guard import RunGuard, check_flower, installed_bundle, reason_against
from site_client.gateway.watchdog import Progress

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Flower's own


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, field, 1)


def run(**changes: object) -> Run:
    genuine = dataclasses.replace(Run.create_empty(5), fab_hash=installed_bundle().hash_str)
    return dataclasses.replace(genuine, **changes)


def message() -> Message:
    found = Message(RecordDict(), dst_node_id=1, message_type="train.update")
    found.metadata.__dict__["_message_id"] = "m"
    found.metadata.__dict__["_run_id"] = 5
    return found


class Fleet:
    """The Fleet API as Flower's loop sees it, and what was asked of it."""

    def __init__(self, found: Run) -> None:
        self.run, self.asked, self.sent, self.told = found, [], [], []

    def receive(self):
        self.asked.append("receive")
        return message(), ObjectTree(object_id="m")

    def get_run(self, run_id: int) -> Run:
        self.asked.append("get_run")
        return self.run

    def send(self, reply, tree, seconds):
        self.sent.append(reply)
        return {reply.object_id}, "session"

    def push_object(self, run_id, session, object_id, content):
        self.asked.append("push_object")

    def guard(self, **more: object) -> RunGuard:
        return RunGuard(
            **more,
            receive=self.receive,
            send=self.send,
            get_run=self.get_run,
            push_object=self.push_object,
            notify=self.told.append,
        )


def test_the_bundle_is_the_same_every_time_and_ships_no_code() -> None:
    one, other = installed_bundle(), installed_bundle()
    assert one == other
    assert len(one.content) < 4000
    assert b".py" not in one.content.replace(b"pyproject.toml", b"")


def test_a_run_of_the_installed_bundle_is_answered_and_asked_about_once() -> None:
    fleet = Fleet(run())
    found = fleet.guard()
    assert found.receive() is not None
    assert found.receive() is not None
    assert found.get_run(5) == fleet.run
    assert fleet.asked == ["receive", "get_run", "receive"]
    assert found.get_fab(fleet.run.fab_hash, 5) == installed_bundle()
    assert (fleet.sent, fleet.told) == ([], [])


NAMES = ("another bundle", "one bit changed", "no bundle", "a configuration", "another kind of task")


def refused(name: str) -> tuple[Run, str]:
    """A run that must be refused, and why."""
    changed = f"{int(installed_bundle().hash_str, 16) ^ 1:064x}"
    return {
        "another bundle": (run(fab_hash="0" * 64), "bundle"),
        "one bit changed": (run(fab_hash=changed), "bundle"),
        "no bundle": (run(fab_hash=""), "bundle"),
        "a configuration": (run(override_config={"rounds": 1000}), "configuration"),
        "another kind of task": (run(primary_task_type="flwr.agentapp"), "task"),
    }[name]


@pytest.mark.parametrize("name", NAMES)
def test_any_other_run_is_refused_at_once_and_nothing_is_fetched(name: str) -> None:
    found, reason = refused(name)
    assert reason_against(found, installed_bundle()) == reason
    fleet = Fleet(found)
    guarded = fleet.guard()
    started = time.monotonic()
    assert guarded.receive() is None
    assert time.monotonic() - started < 5
    assert fleet.asked == ["receive", "get_run", "push_object"]
    (reply,) = fleet.sent
    assert reply.has_error()
    assert reply.error.reason == "RunRefused"
    assert fleet.told == [reason]
    with pytest.raises(RunNotRunningException):
        guarded.get_run(5)
    with pytest.raises(RunNotRunningException):
        guarded.get_fab("0" * 64, 5)


def test_no_run_is_answered_by_code_that_the_site_has_not_accepted() -> None:
    fleet, is_accepted = Fleet(run()), [False]
    guarded = fleet.guard(is_accepted=lambda: is_accepted[0])
    assert guarded.receive() is None
    assert fleet.told == ["code"]
    assert len(fleet.sent) == 1
    with pytest.raises(RunNotRunningException):
        guarded.get_run(5)
    is_accepted[0] = True
    assert guarded.receive() is not None


@pytest.mark.parametrize("name", ["genuine", *NAMES])
def test_flowers_own_loop_stores_only_what_the_guard_lets_through(name: str) -> None:
    """Flower's function, not a copy of it: what it calls between receiving and storing."""
    fleet = Fleet(run() if name == "genuine" else refused(name)[0])
    guarded = fleet.guard()
    stores = ObjectStoreFactory()
    state = NodeStateFactory(objectstore_factory=stores).state()
    state.set_node_id(1)
    fetched: list[str] = []
    loop = vars(start_client_internal)["_pull_and_store_message"]
    real = message()

    def receive():
        found = guarded.receive()
        if found is None:
            return None
        from flwr.supercore.inflatable.inflatable_object import get_object_tree

        real.metadata.__dict__["_message_id"] = real.object_id
        return real, get_object_tree(real)

    outcome = loop(
        state=state,
        object_store=stores.store(),
        node_config={},
        receive=receive,
        get_run=guarded.get_run,
        get_fab=guarded.get_fab,
        pull_object=lambda run_id, object_id: fetched.append(object_id) or _content(real, object_id),
        confirm_message_received=lambda run_id, object_id: None,
        trusted_entities=None,
    )
    if name == "genuine":
        assert outcome == 5
        assert state.get_run(5) == fleet.run
    else:
        assert (outcome, fetched, state.get_run(5)) == (None, [], None)


def _content(real, object_id):
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

    return get_all_nested_objects(real)[object_id].deflate()


def test_this_flower_is_the_one_that_the_hooks_were_written_for() -> None:
    check_flower()


@pytest.mark.parametrize(
    ("module", "name", "replacement"),
    [
        (start_client_internal, "http_request_response", lambda server_address: None),
        (start_client_internal, "_pull_and_store_message", lambda state, receive: None),
        (fleet_http_connection, "FleetHttpClient", object),
        (guard, "_VERSION", "1.42.0"),
    ],
)
def test_another_flower_is_refused_at_start(module, name, replacement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(module), name, replacement)
    with pytest.raises(MissingDependencyError, match="written for"):
        guard.install(client=FleetHttpClient, notify=lambda reason: None, progress=Progress())
    if name == "http_request_response":
        assert vars(start_client_internal)[name] is replacement


def test_this_flower_can_be_hastened() -> None:
    assert guard.pace_as_expected()


@pytest.mark.parametrize(
    ("module", "name", "replacement"),
    [
        (start_client_internal, "time", object()),
        (start_client_internal, "_push_messages", lambda state: None),
        (start_client_internal, "_insert_message", lambda message: None),
        (http_retry, "MAX_RETRY_DELAY", None),
    ],
)
def test_another_pace_is_flowers_own_and_the_log_says_so(
    module, name, replacement, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(vars(module), name, replacement)
    assert not guard.pace_as_expected()
    assert name in caplog.text
    check_flower()  # safety does not rest on it


def test_the_loop_answers_before_it_looks_for_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    pushed = lambda state, object_store, send, push_object: steps.append(f"push {state}")  # noqa: E731
    for module, name, replacement in (
        (start_client_internal, "_push_messages", pushed),
        (start_client_internal, "time", time),
        (http_retry, "MAX_RETRY_DELAY", 20),
    ):
        monkeypatch.setitem(vars(module), name, replacement)
    pauses = object()
    guard.hasten(pauses=pauses, answer=lambda state, objects, insert: steps.append(f"answer {state}"))
    vars(start_client_internal)["_push_messages"](state="s", object_store=None, send=None, push_object=None)
    assert steps == ["answer s", "push s"]
    assert vars(start_client_internal)["time"] is pauses
    assert vars(http_retry)["MAX_RETRY_DELAY"] == 2
