"""What the transport over Flower does when sites are late and links, nodes or messages get lost."""

import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from aggregator.app import GridTransport
from aggregator.flower_messages import MESSAGE_TYPES, message_type_of
from aggregator.transport import SiteReply
from federation.errors import TransportError
from federation.protocol.messages import (
    Envelope,
    EvaluateRequest,
    PrepareRequest,
    Refusal,
    StatisticsRequest,
    TrainReply,
    TrainRequest,
)
from federation.protocol.secure_sum.terms import KeyBatch
from site_client.gateway.app import forwarding_app
from tests.contracts.test_transport import STUDY, Answered, LoopbackGrid, request

CONTEXT = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})


@pytest.fixture(autouse=True)
def task_identity(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class Lost(Answered):
    """Flower's word for a message whose node is gone."""

    def __init__(self, identifier):
        super().__init__(identifier, None)
        self.error = Error(code=ErrorCode.NODE_UNAVAILABLE, reason="")

    def has_error(self):
        return True


class TroubledGrid(LoopbackGrid):
    """A grid whose `trouble` says what happens to the next messages of a site: "late", "lost" or "gone"."""

    def __init__(self, handlers, **options):
        super().__init__(handlers, **options)
        self.trouble, self.late, self.pushed, self.is_down = {}, {}, [], False

    def push_messages(self, messages):
        self._check()
        identifiers = super().push_messages(messages)
        for identifier, message in zip(identifiers, messages, strict=True):
            if message.metadata.message_type == "query.identity":
                continue
            site = self.claims[message.metadata.dst_node_id - 1]
            self.pushed.append((site, message.metadata.dst_node_id))
            match next(iter(self.trouble.get(site, [])), None):
                case "late":
                    self.late[identifier] = self.replies.pop(identifier)
                case "lost":
                    self.replies[identifier] = Lost(identifier)
                case "gone":
                    self.is_down = True
                case _:
                    pass
            self.trouble[site] = self.trouble.get(site, [])[1:]
        return identifiers

    def pull_messages(self, identifiers):
        self._check()
        return super().pull_messages(identifiers)

    def _check(self):
        if self.is_down:
            raise ConnectionError("down")


def echoing(*sites):
    return {site: lambda content, site=site: site.encode() + content for site in sites}


def transport_over(grid, *, reconnect=None, deadline=5.0, resend=60.0):
    return GridTransport(
        grid,
        sites=tuple(grid.handlers),
        deadline_seconds=deadline,
        start_seconds=1,
        reconnect=reconnect,
        resend_seconds=resend,
    )


def asked(grid, site):
    return [node for name, node in grid.pushed if name == site]


def test_a_late_reply_is_a_dropout_and_disturbs_no_later_round():
    grid = TroubledGrid(echoing("a", "b"))
    transport = transport_over(grid, deadline=0.2)
    grid.trouble = {"b": ["late"]}
    first = {reply.site: reply for reply in transport.exchange({"a": b_request("a", 1), "b": b_request("b", 1)})}
    assert first["b"] == SiteReply("b", None, "deadline")
    assert first["a"].content == b"a" + b_request("a", 1)
    grid.replies |= grid.late
    second = {reply.site: reply for reply in transport.exchange({"a": b_request("a", 2), "b": b_request("b", 2)})}
    assert second["b"].content == b"b" + b_request("b", 2)
    assert len(second) == 2


def b_request(site, number):
    return Envelope(TrainRequest(study=STUDY, site=site, round_number=number)).to_bytes()


def test_a_site_that_is_overdue_is_asked_again_with_the_same_bytes():
    grid = TroubledGrid(echoing("a"))
    grid.trouble = {"a": ["late"]}
    transport = transport_over(grid, reconnect=lambda: grid, resend=0.05)
    assert [reply.content for reply in transport.exchange({"a": request("a")})] == [b"a" + request("a")]
    assert len(asked(grid, "a")) == 2


def test_a_lost_message_is_sent_again_where_nodes_may_come_back(monkeypatch):
    monkeypatch.setattr("aggregator.app._LOST_SECONDS", 0.05)
    grid = TroubledGrid(echoing("a"))
    grid.trouble = {"a": ["lost"]}
    transport = transport_over(grid, reconnect=lambda: grid)
    assert [reply.content for reply in transport.exchange({"a": request("a")})] == [b"a" + request("a")]


def test_a_lost_link_is_opened_again_and_every_site_without_an_answer_is_asked_again():
    first, second = TroubledGrid(echoing("a", "b")), TroubledGrid(echoing("a", "b"))
    attempts = []

    def reconnect():
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError("still down")
        return second

    transport = transport_over(first, reconnect=reconnect)
    first.trouble = {"b": ["gone"]}
    replies = list(transport.exchange({site: request(site) for site in "ab"}))
    assert sorted(reply.site for reply in replies) == ["a", "b"]
    assert all(reply.content == reply.site.encode() + request(reply.site) for reply in replies)
    assert len(attempts) == 3


def test_without_a_way_to_open_it_again_a_lost_link_ends_the_study():
    grid = TroubledGrid(echoing("a"))
    transport = transport_over(grid)
    grid.trouble = {"a": ["gone"]}
    with pytest.raises(TransportError, match="the connection is lost"):
        list(transport.exchange({"a": request("a")}))


def test_a_link_that_never_comes_back_is_a_missed_deadline():
    grid = TroubledGrid(echoing("a"))
    transport = transport_over(grid, reconnect=lambda: grid, deadline=0.7)
    grid.trouble = {"a": ["gone"]}
    assert list(transport.exchange({"a": request("a")})) == [SiteReply("a", None, "deadline")]


def test_a_site_whose_node_comes_back_under_another_number_is_asked_there():
    grid = TroubledGrid(echoing("a", "b"))
    transport = transport_over(grid, reconnect=lambda: grid)
    grid.trouble = {"a": ["late"]}
    grid.claims.append("a")
    replies = {reply.site: reply.content for reply in transport.exchange({site: request(site) for site in "ab"})}
    assert replies["a"] == b"a" + request("a")
    assert asked(grid, "a") == [1, 3]
    assert [reply.site for reply in transport.exchange({"a": request("a")})] == ["a"]
    assert asked(grid, "a") == [1, 3, 3]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (TrainRequest(study=STUDY, site="a", round_number=1), "train.update"),
        (EvaluateRequest(study=STUDY, site="a", round_number=1), "evaluate.model"),
        (PrepareRequest(study=STUDY, site="a"), "query.prepare"),
        (
            StatisticsRequest(
                study=STUDY, site="a", number=1, batch=KeyBatch(purpose="statistics", first_round=1, rounds=1)
            ),
            "query.statistics",
        ),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_the_kind_of_a_request_names_the_type_of_its_message(header, expected):
    assert message_type_of(Envelope(header).to_bytes()) == expected


@pytest.mark.parametrize(
    "header",
    [TrainReply(study=STUDY, site="a", round_number=1), Refusal(study=STUDY, site="a", reason="InternalError")],
    ids=lambda header: header.kind,
)
def test_what_is_no_request_has_no_message_type(header):
    with pytest.raises(TransportError, match=header.kind):
        message_type_of(Envelope(header).to_bytes())


@pytest.mark.parametrize("name", MESSAGE_TYPES.values())
def test_the_gateway_forwards_every_message_type_without_reading_it(name):
    app = forwarding_app(site_of=lambda context: "a", handler_of=lambda site: lambda content: site.encode() + content)
    asking = LoopbackGrid({"a": lambda content: content})
    message = Message(_content(b"\x00 not an envelope"), dst_node_id=1, message_type=name)
    asking.push_messages([message])
    assert app(message, CONTEXT).content["cohortium"]["content"] == b"a\x00 not an envelope"


def _content(content):
    from flwr.app import ConfigRecord

    return RecordDict({"cohortium": ConfigRecord({"content": content})})
