"""A message is answered in the loop that has fetched it, with Flower's own state and functions around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate import NodeStateFactory

from aggregator.flower_messages import from_pieces, in_pieces
from federation.errors import TransportError
from site_client.gateway import guard
from site_client.gateway.app import PIECE_BYTES, InPlace, forwarding_app
from site_client.gateway.guard import installed_bundle
from site_client.gateway.watchdog import Progress

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Flower's own
RUN = 5
loop = vars(start_client_internal)


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, field, RUN)


class Fleet:
    """One message at the SuperLink, and where its reply arrives."""

    def __init__(self, content: bytes, kind: str = "train.update") -> None:
        self.message = Message(in_pieces(content), dst_node_id=1, message_type=kind)
        self.message.metadata.__dict__["_run_id"] = RUN
        with no_object_id_recompute():
            self.message.metadata.__dict__["_message_id"] = self.message.object_id
            self.objects = {
                identifier: part.deflate() for identifier, part in get_all_nested_objects(self.message).items()
            }
            self.tree = get_object_tree(self.message)
        self.replies: list[Message] = []
        self.parts: dict[str, bytes] = {}
        self.not_yet: dict[str, int] = {}

    def pull_object(self, run_id: int, object_id: str) -> bytes:
        if self.not_yet.get(object_id, 0):
            self.not_yet[object_id] -= 1
            raise ObjectUnavailableError(object_id)
        return self.objects[object_id]

    def send(self, reply: Message, tree: object, seconds: float) -> tuple[set[str], str]:
        assert seconds >= 0
        self.replies.append(reply)
        return {reply.metadata.message_id}, "session"

    def push_object(self, run_id: int, session: str, object_id: str, content: bytes) -> None:
        self.parts[object_id] = content


@pytest.fixture
def state():
    stores = ObjectStoreFactory()
    found = NodeStateFactory(objectstore_factory=stores).state()
    found.set_node_id(1)
    return found, stores.store()


def passed_through_the_loop(fleet: Fleet, state, handle: Callable[[bytes], bytes]) -> None:
    """Flower's own two functions, and ours between them, as the loop calls them."""
    nodes, objects = state
    run = dataclasses.replace(Run.create_empty(RUN), fab_hash=installed_bundle().hash_str)
    found = loop["_pull_and_store_message"](
        state=nodes,
        object_store=objects,
        node_config={},
        receive=lambda: (stripped(fleet.message), fleet.tree),
        get_run=lambda run_id: run,
        get_fab=lambda fab_hash, run_id: installed_bundle(),
        pull_object=fleet.pull_object,
        confirm_message_received=lambda run_id, object_id: None,
        trusted_entities=None,
    )
    assert found == RUN
    app = forwarding_app(site_of=lambda _: "north", handler_of=lambda _: handle)
    InPlace(app)(nodes, objects, loop["_insert_message"])
    loop["_push_messages"](state=nodes, object_store=objects, send=fleet.send, push_object=fleet.push_object)


def stripped(message: Message) -> Message:
    from flwr.app.message import remove_content_from_message

    return remove_content_from_message(message)


@pytest.mark.parametrize("length", [0, 1, PIECE_BYTES, 2 * PIECE_BYTES + 7])
def test_the_agent_gets_the_bytes_and_the_superlink_its_answer(state, length: int) -> None:
    content = bytes(number % 251 for number in range(length))
    seen: list[bytes] = []
    fleet = Fleet(content)
    passed_through_the_loop(fleet, state, lambda request: seen.append(request) or b"reply" + request[::-1])
    assert seen == [content]
    (reply,) = fleet.replies
    assert reply.metadata.reply_to_message_id == fleet.message.metadata.message_id
    assert from_pieces(reply.content) == b"reply" + content[::-1]
    assert reply.metadata.message_id in fleet.parts


def test_nothing_of_a_message_stays_behind_and_the_next_one_follows(state) -> None:
    nodes, objects = state
    for number in range(3):
        fleet = Fleet(bytes([number]))
        passed_through_the_loop(fleet, state, lambda request: request * 2)
        assert from_pieces(fleet.replies[0].content) == bytes([number, number])
        assert len(objects) == 0
        assert list(nodes.get_messages_legacy()) == []


def test_whatever_goes_wrong_only_the_name_of_a_class_leaves(state) -> None:
    def fail(request: bytes) -> bytes:
        raise ValueError("patient 4711")

    fleet = Fleet(b"x")
    passed_through_the_loop(fleet, state, fail)
    (reply,) = fleet.replies
    assert reply.has_error()
    assert "4711" not in str(reply.error)


def test_a_question_of_another_kind_is_answered_with_an_error(state) -> None:
    fleet = Fleet(b"x", kind="query.secrets")
    passed_through_the_loop(fleet, state, lambda request: pytest.fail("it reached the agent"))
    assert fleet.replies[0].has_error()


def test_a_message_of_a_run_that_is_unknown_ends_the_process(state) -> None:
    nodes, objects = state
    fleet = Fleet(b"x")
    loop["_insert_message"](fleet.message, nodes, objects)
    with pytest.raises(TransportError):
        InPlace(forwarding_app(site_of=lambda _: "north", handler_of=lambda _: pytest.fail))(nodes, objects, None)


def connection(fleet: Fleet, progress: Progress, monkeypatch: pytest.MonkeyPatch):
    """What Flower's loop gets from a guarded connection."""
    from contextlib import contextmanager

    @contextmanager
    def original(
        server_address, insecure, root_certificates=None, authentication_keys=None, max_retries=None, max_wait_time=None
    ):
        run = dataclasses.replace(Run.create_empty(RUN), fab_hash=installed_bundle().hash_str)
        found = iter([(fleet.message, fleet.tree)])
        yield (
            1, lambda: next(found, None), fleet.send, lambda run_id: run, lambda fab_hash, run_id: None,
            fleet.pull_object, fleet.push_object, lambda run_id, object_id: None,
        )  # fmt: skip

    from flwr.supernode import fleet_http_connection
    from flwr.supernode.fleet_http_client import FleetHttpClient

    monkeypatch.setitem(loop, "http_request_response", original)
    monkeypatch.setitem(vars(fleet_http_connection), "FleetHttpClient", FleetHttpClient)
    guard.install(client=FleetHttpClient, notify=lambda reason: None, progress=progress)
    return loop["http_request_response"]("a", insecure=True)


def test_every_step_of_a_message_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    progress, fleet = Progress(clock=lambda: now[0]), Fleet(b"x")
    with connection(fleet, progress, monkeypatch) as found:
        _, receive, send, get_run, _, pull_object, push_object, confirm = found
        assert receive() is not None
        steps = [
            lambda: pull_object(RUN, fleet.tree.object_id),
            lambda: confirm(RUN, "m"),
            lambda: send(fleet.message, fleet.tree, 0.0),
            lambda: push_object(RUN, "session", "o", b""),
        ]
        for step in steps:
            now[0] += 50
            step()
            assert progress.reason_to_end() is None
        now[0] += 61
        assert progress.reason_to_end() == "message"
        assert receive() is None
        assert progress.reason_to_end() is None
        with pytest.raises(RunNotRunningException):
            get_run(RUN + 1)


def test_a_part_that_is_on_its_way_is_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(guard.time, "sleep", waited.append)
    fleet = Fleet(b"x")
    fleet.not_yet = {fleet.tree.object_id: 3}
    with connection(fleet, Progress(), monkeypatch) as found:
        pull_object = found[5]
        assert pull_object(RUN, fleet.tree.object_id) == fleet.objects[fleet.tree.object_id]
        assert 0 < sum(waited) < 0.1
        fleet.not_yet = {fleet.tree.object_id: 10**6}
        with pytest.raises(ObjectUnavailableError):  # from here on at Flower's own pace
            pull_object(RUN, fleet.tree.object_id)
    assert sum(waited) < 2
