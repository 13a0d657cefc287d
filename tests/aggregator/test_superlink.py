"""The coordinator's link: it stops the run that it spoke through, whosever that was, and waits for no single site."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.run import Run

from aggregator import superlink
from aggregator.flower_messages import PIECE_BYTES, RepliesOnTheirWay, from_pieces, in_pieces
from aggregator.superlink import Link, LinkGrid

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Flower's own


class SuperLink:
    """Runs that were started, and tasks in the order in which a SuperLink gives them out: oldest first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.stopped, self.waiting = 0, [], []
        self.forgets_to_answer = False
        monkeypatch.setattr(superlink, "control_client", lambda address, headers: self)
        monkeypatch.setattr(superlink.RuntimeHttpClient, "from_server_address", lambda *_, **__: self)
        monkeypatch.setattr(superlink, "with_headers", lambda client, headers: client)
        monkeypatch.setattr(
            superlink, "LinkGrid", lambda *_, **__: SimpleNamespace(begin=lambda: None, close=lambda: None)
        )

    def StartRun(self, request):  # noqa: N802 - Flower's name
        self.started += 1
        self.waiting.append(self.started)
        if self.forgets_to_answer:
            raise superlink.httpx.ReadError("killed")
        return SimpleNamespace(run_id=self.started)

    def StopRun(self, request):  # noqa: N802 - Flower's name
        self.stopped.append(request.run_id)

    def AcquireTask(self, request):  # noqa: N802 - Flower's name
        run = self.waiting.pop(0)
        return SimpleNamespace(token=f"token {run}", task=SimpleNamespace(run_id=run))

    def close(self):
        pass


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> SuperLink:
    return SuperLink(monkeypatch)


def test_the_last_run_is_stopped_before_another_is_started(remote: SuperLink) -> None:
    link = Link("address", secret=b"secret")
    link.open()
    assert remote.stopped == []
    link.open()
    link.open()
    assert remote.stopped == [1, 2]


def test_a_run_whose_start_was_never_confirmed_is_stopped_when_it_was_the_one_that_was_used(remote: SuperLink) -> None:
    """Otherwise a SuperNode may wait for hours for the rest of a message of it."""
    link = Link("address", secret=b"secret")
    remote.forgets_to_answer = True
    with pytest.raises(ConnectionError):
        link.open()
    remote.forgets_to_answer = False
    link.open()  # starts run 2, and is given the task of run 1
    link.open()
    assert remote.stopped == [1]


def test_two_coordinators_do_not_stop_each_others_runs(remote: SuperLink) -> None:
    one, other = Link("address", secret=b"secret"), Link("address", secret=b"secret")
    remote.waiting.append(7)  # the other's, not claimed yet
    one.open()
    other.open()
    one.open()
    assert remote.stopped == [7]
    other.open()
    assert remote.stopped == [7, 1]


class Inbox:
    """A SuperLink with replies, some of whose parts have not come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, replies: dict[str, Message]) -> None:
        self.announced = {
            request: (message_to_proto(remove_content_from_message(reply)), get_object_tree(reply))
            for request, reply in replies.items()
        }
        self.parts = {
            identifier: part.deflate()
            for reply in replies.values()
            for identifier, part in get_all_nested_objects(reply).items()
        }
        self.asked, self.not_yet, self.gone, self.confirmed = [], set(), set(), []
        self.grid = LinkGrid("127.0.0.1:1", token="t")
        self.grid.set_run(Run.create_empty(1))
        for name, answer in (
            ("PullMessages", self.pull_messages),
            ("PullObject", self.pull_object),
            ("ConfirmMessageReceived", self.confirm),
        ):
            monkeypatch.setattr(superlink.RuntimeHttpClient, name, lambda _, request, answer=answer: answer(request))

    def pull_messages(self, request):
        self.asked.append(sorted(request.message_ids))
        found = [self.announced.pop(name) for name in request.message_ids if name in self.announced]
        return PullAppMessagesResponse(
            messages_list=[message for message, _ in found], message_object_trees=[tree for _, tree in found]
        )

    def pull_object(self, request):
        known = request.object_id not in self.gone
        here = known and request.object_id not in self.not_yet
        content = self.parts[request.object_id] if here else b""
        return PullObjectResponse(object_found=known, object_available=here, object_content=content)

    def confirm(self, request):
        self.confirmed.append(request.message_object_id)

    def look(self, *requests: str):
        return [(found.metadata.reply_to_message_id, found) for found in self.grid.pull_messages(requests)]


def reply_to(request: str, content: bytes) -> Message:
    found = Message(in_pieces(content), dst_node_id=1, message_type="train.update")
    found.metadata.__dict__["_reply_to_message_id"] = request
    found.metadata.__dict__["_message_id"] = found.object_id
    return found


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> dict[str, Message]:
    for field in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(superlink.TaskIdentity, field, 1)
    return {request: reply_to(request, request.encode() * 3) for request in ("a", "b")}


def leaf(reply: Message) -> str:
    return get_object_tree(reply).children[0].children[0].object_id


def test_replies_come_one_by_one_whole_and_each_is_confirmed(monkeypatch, replies) -> None:
    inbox = Inbox(monkeypatch, replies)
    found = dict(inbox.look("a", "b") + inbox.look("a", "b"))
    assert {name: from_pieces(reply.content) for name, reply in found.items()} == {"a": b"aaa", "b": b"bbb"}
    assert sorted(inbox.confirmed) == sorted(reply.object_id for reply in replies.values())
    assert all(found[name].metadata.message_id == reply.object_id for name, reply in replies.items())
    assert inbox.asked == [["a", "b"]]


def test_a_reply_whose_sender_died_holds_up_nobody(monkeypatch, replies) -> None:
    """Flower's own grid waits until its SuperLink gives the rest up, three minutes; or two hours, where that has died as well."""
    inbox = Inbox(monkeypatch, replies)
    inbox.not_yet = {leaf(replies["a"])}
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    assert [name for name, _ in inbox.look("a", "b")] == ["b"]
    assert inbox.look("a") == []
    inbox.not_yet = set()
    ((name, found),) = inbox.look("a")
    assert (name, from_pieces(found.content)) == ("a", b"aaa")


def test_a_reply_is_announced_once_and_its_request_not_asked_about_again(monkeypatch, replies) -> None:
    inbox = Inbox(monkeypatch, replies)
    inbox.not_yet = {leaf(replies["a"]), leaf(replies["b"])}
    assert inbox.look("a", "b", "c") == []
    assert inbox.look("a", "b", "c") == []
    assert inbox.asked == [["a", "b", "c"], ["c"]]


def test_the_rest_of_a_reply_that_the_superlink_has_given_up_is_an_error(monkeypatch, replies) -> None:
    inbox = Inbox(monkeypatch, replies)
    inbox.gone = {leaf(replies["a"])}
    ((name, found),) = inbox.look("a")
    assert name == "a"
    assert found.has_error()
    assert found.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert inbox.confirmed == []


@pytest.mark.parametrize("content", [b"", b"garbage", b"Unheard 0\x00", b"ConfigRecord 4\x00\xff\xff\xff\xff"])
def test_a_reply_that_cannot_be_read_is_its_sites_and_stops_nobody(monkeypatch, replies, content: bytes) -> None:
    for broken in (leaf(replies["a"]), replies["a"].object_id):
        inbox = Inbox(monkeypatch, replies)
        inbox.parts[broken] = content
        found = dict(inbox.look("a", "b") + inbox.look("a", "b"))
        assert found["a"].has_error()
        assert from_pieces(found["b"].content) == b"bbb"
        assert replies["a"].object_id not in inbox.confirmed


def test_a_reply_that_is_another_object_is_no_message(monkeypatch, replies) -> None:
    inbox = Inbox(monkeypatch, replies)
    inbox.parts[replies["a"].object_id] = inbox.parts[leaf(replies["a"])]
    assert dict(inbox.look("a", "b") + inbox.look("a", "b"))["a"].has_error()


def test_a_reply_without_another_part_for_minutes_is_lost_but_a_slow_one_is_not(replies) -> None:
    now = [0.0]
    waiting = RepliesOnTheirWay(clock=lambda: now[0])
    reply = reply_to("a", b"x" * PIECE_BYTES + b"y" * PIECE_BYTES + b"z")
    parts = {identifier: part.deflate() for identifier, part in get_all_nested_objects(reply).items()}
    here: set[str] = set()

    def pull(identifier: str) -> PullObjectResponse:
        content = parts[identifier] if identifier in here else b""
        return PullObjectResponse(object_found=True, object_available=bool(content), object_content=content)

    waiting.announce(message_to_proto(remove_content_from_message(reply)), get_object_tree(reply))
    for part in get_object_tree(reply).children[0].children[:2]:
        now[0] += 199
        assert waiting.take(pull) is None
        here.add(part.object_id)
        assert waiting.take(pull) is None
    now[0] += 201
    found = waiting.take(pull)
    assert found is not None
    assert found.has_error()
    assert waiting.take(pull) is None


def test_replies_to_requests_that_nobody_waits_for_any_more_are_forgotten(monkeypatch, replies) -> None:
    inbox = Inbox(monkeypatch, replies)
    inbox.not_yet = {leaf(replies["a"])}
    assert inbox.look("a") == []
    inbox.not_yet = set()
    assert [name for name, _ in inbox.look("b")] == ["b"]
    assert inbox.look("a") == []  # announced once, forgotten since
