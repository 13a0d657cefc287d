"""Who a node is, where nodes have no keys: Flower may lose the question or its answer, so it is asked again."""

import pytest
from flwr.supercore.task_identity import TaskIdentity

from tests.contracts.test_grid_transport import Lost, TroubledGrid, echoing, transport_over
from tests.contracts.test_transport import request


@pytest.fixture(autouse=True)
def task_identity(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setattr("aggregator.app._GREET_AGAIN_SECONDS", 0.2)


class Forgetful(TroubledGrid):
    """Does something else with the first questions to a node."""

    def __init__(self, handlers, *, instead):
        super().__init__(handlers)
        self.instead, self.questions = dict(instead), []

    def push_messages(self, messages):
        identifiers = super().push_messages(messages)
        for identifier, message in zip(identifiers, messages, strict=True):
            node = message.metadata.dst_node_id
            if message.metadata.message_type != "query.identity":
                continue
            self.questions.append(node)
            happens = next(iter(self.instead.get(node, [])), None)
            self.instead[node] = self.instead.get(node, [])[1:]
            if happens == "lost":
                del self.replies[identifier]
            elif happens == "failed":
                self.replies[identifier] = Lost(identifier)
        return identifiers


def answers(transport):
    return {reply.site: reply.content for reply in transport.exchange({site: request(site) for site in "ab"})}


@pytest.mark.parametrize("happens", ["lost", "failed"])
def test_a_question_that_is_lost_at_the_start_is_asked_again(happens):
    grid = Forgetful(echoing("a", "b"), instead={2: [happens, happens]})
    found = answers(transport_over(grid))
    assert found["b"] == b"b" + request("b")
    assert grid.questions.count(2) == 3
    assert grid.questions.count(1) == 1


@pytest.mark.parametrize("happens", ["lost", "failed"])
def test_a_question_that_is_lost_after_a_link_was_opened_again_is_asked_again(happens):
    """A node that was asked once and never answered would miss every round of the study."""
    first, second = TroubledGrid(echoing("a", "b")), Forgetful(echoing("a", "b"), instead={2: [happens]})
    transport = transport_over(first, reconnect=lambda: second, deadline=20.0)
    first.trouble = {"b": ["gone"]}
    found = answers(transport)
    assert found["b"] == b"b" + request("b")
    assert second.questions.count(2) == 2


def test_a_node_that_has_said_who_it_is_is_not_asked_again():
    grid = Forgetful(echoing("a", "b"), instead={})
    transport = transport_over(grid, reconnect=lambda: grid, deadline=1.0)
    assert sorted(grid.questions) == [1, 2]
    grid.silent = ("b",)
    assert answers(transport)["b"] is None  # a second of looking after nodes
    assert sorted(grid.questions) == [1, 2]
