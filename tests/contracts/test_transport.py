"""What every Transport does. A new one adds a line to `MAKERS`."""

import pytest
from flwr.app import ConfigRecord, Error, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from aggregator.app import GridTransport
from aggregator.transport import SiteReply
from experiments.engines.inline import InlineTransport
from federation.errors import TransportError
from federation.protocol.messages import Envelope, EvaluateRequest, TrainRequest

STUDY = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def task_identity(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class LoopbackGrid:
    """Flower's grid without Flower: messages are answered by handlers; `silent` sites never answer, `broken` ones fail."""

    def __init__(self, handlers, *, claims=None, silent=(), broken=()):
        self.handlers, self.silent, self.broken = handlers, silent, broken
        self.claims = claims or list(handlers)
        self.replies, self.types = {}, []

    def get_node_ids(self):
        return range(1, len(self.claims) + 1)

    def push_messages(self, messages):
        identifiers = []
        for message in messages:
            site = self.claims[message.metadata.dst_node_id - 1]
            identifier = f"message-{len(self.types)}"
            self.types.append(message.metadata.message_type)
            message.metadata.__dict__["_message_id"] = identifier
            identifiers.append(identifier)
            if message.metadata.message_type == "query.identity":
                self._keep(identifier, RecordDict({"cohortium": ConfigRecord({"site": site})}))
            elif site in self.broken:
                self.replies[identifier] = Failed(identifier)
            elif site not in self.silent:
                content = message.content["cohortium"]["content"]
                self._keep(
                    identifier, RecordDict({"cohortium": ConfigRecord({"content": self.handlers[site](content)})})
                )
        return identifiers

    def _keep(self, identifier, content):
        self.replies[identifier] = Answered(identifier, content)

    def pull_messages(self, identifiers):
        return [self.replies.pop(identifier) for identifier in list(identifiers) if identifier in self.replies]


class Answered:
    def __init__(self, identifier, content):
        self.metadata = type("Metadata", (), {"reply_to_message_id": identifier})
        self.content = content

    def has_error(self):
        return False


class Failed(Answered):
    def __init__(self, identifier):
        super().__init__(identifier, None)
        self.error = Error(code=0, reason="Jane Doe 1970-01-01")

    def has_error(self):
        return True


def grid_transport(handlers, **options):
    return GridTransport(
        LoopbackGrid(handlers, **options), sites=tuple(handlers), deadline_seconds=0.3, start_seconds=1
    )


MAKERS = {"inline": InlineTransport, "grid": grid_transport}


def request(site):
    return Envelope(TrainRequest(study=STUDY, site=site, round_number=1)).to_bytes()


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
def make(request):
    return request.param


def test_every_site_gets_its_own_request_and_answers_once(make):
    transport = make({site: lambda content, site=site: site.encode() + content for site in ("a", "b", "c")})
    requests = {site: request(site) for site in ("a", "b", "c")}
    replies = list(transport.exchange(requests))
    assert sorted(reply.site for reply in replies) == ["a", "b", "c"]
    for reply in replies:
        assert reply == SiteReply(site=reply.site, content=reply.site.encode() + requests[reply.site], reason="")


def test_a_subset_may_be_asked(make):
    transport = make({site: lambda content: content for site in ("a", "b")})
    assert [reply.site for reply in transport.exchange({"b": request("b")})] == ["b"]


def test_nobody_may_be_asked(make):
    assert list(make({"a": lambda content: content}).exchange({})) == []


def test_it_can_be_used_for_many_rounds_and_closed_twice(make):
    transport = make({"a": lambda content: content})
    for _ in range(3):
        assert [reply.content for reply in transport.exchange({"a": request("a")})] == [request("a")]
    transport.close()
    transport.close()


def test_large_replies_arrive_whole(make):
    large = bytes(range(256)) * 20_000
    transport = make({"a": lambda content: large})
    assert next(iter(transport.exchange({"a": request("a")}))).content == large


def test_an_inline_site_that_is_not_there_is_unreachable():
    (reply,) = InlineTransport({}).exchange({"a": request("a")})
    assert reply == SiteReply(site="a", content=None, reason="unreachable")


def test_a_silent_site_misses_the_deadline_and_a_broken_one_is_unreachable():
    transport = grid_transport({site: lambda content: content for site in "abc"}, silent=("b",), broken=("c",))
    replies = {reply.site: reply for reply in transport.exchange({site: request(site) for site in "abc"})}
    assert replies["a"].content is not None
    assert replies["b"] == SiteReply("b", None, "deadline")
    assert replies["c"] == SiteReply("c", None, "unreachable")  # and Flower's error text went no further


def test_messages_have_the_type_of_their_work():
    grid = LoopbackGrid({"a": lambda content: content})
    transport = GridTransport(grid, sites=("a",), deadline_seconds=1)
    list(transport.exchange({"a": request("a")}))
    evaluate = Envelope(EvaluateRequest(study=STUDY, site="a", round_number=1)).to_bytes()
    list(transport.exchange({"a": evaluate}))
    assert grid.types == ["query.identity", "train.update", "evaluate.model"]


def test_two_nodes_that_claim_one_site_are_refused():
    with pytest.raises(TransportError, match="two that say they are 'a'"):
        grid_transport({"a": lambda content: content}, claims=["a", "a"])


def test_an_absent_site_is_named():
    grid = LoopbackGrid({"a": lambda content: content})
    with pytest.raises(TransportError, match="'b'"):
        GridTransport(grid, sites=("a", "b"), deadline_seconds=1, start_seconds=0.05)
