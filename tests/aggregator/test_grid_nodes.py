"""Where nodes have keys: a node is the site of its key, absent sites hold nobody up, and who is gone is not waited for."""

from __future__ import annotations

import time

import pytest
from flwr.supercore.task_identity import TaskIdentity

from aggregator.app import GridTransport
from aggregator.flower_messages import message_type_of
from federation.errors import StudyInterruptedError
from federation.protocol.authenticated import sign_request
from federation.protocol.messages import Envelope, PrepareRequest
from federation.protocol.signatures import SigningKey
from tests.contracts.test_transport import STUDY, LoopbackGrid, request


@pytest.fixture(autouse=True)
def task_identity(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def echoing(*sites):
    return {site: lambda content, site=site: site.encode() + content for site in sites}


class KeyedGrid(LoopbackGrid):
    """Nobody is asked who he is."""

    def push_messages(self, messages):
        messages = list(messages)
        assert all(message.metadata.message_type != "query.identity" for message in messages)
        return super().push_messages(messages)


def transport_over(grid, sites_by_node, *, sites=("north", "south"), gone=None, deadline=5.0, start=0.2):
    return GridTransport(
        grid,
        sites=sites,
        deadline_seconds=deadline,
        start_seconds=start,
        reconnect=lambda: grid,
        sites_by_node=lambda: sites_by_node,
        gone=gone,
    )


def test_nodes_are_who_their_keys_say():
    grid = KeyedGrid(echoing("north", "south"))
    transport = transport_over(grid, {1: "north", 2: "south"})
    found = {
        reply.site: reply.content for reply in transport.exchange({site: request(site) for site in ("north", "south")})
    }
    assert found["north"].startswith(b"north")
    assert found["south"].startswith(b"south")


def test_an_absent_site_holds_nobody_up_and_a_stranger_is_never_asked():
    grid = KeyedGrid(echoing("north", "south"))
    transport = transport_over(grid, {1: "north", 2: "east"}, deadline=1.0)
    found = {reply.site: reply for reply in transport.exchange({site: request(site) for site in ("north", "south")})}
    assert found["north"].content is not None
    assert (found["south"].content, found["south"].reason) == (None, "deadline")


def test_a_site_that_connects_in_the_middle_is_asked():
    grid = KeyedGrid(echoing("north", "south"))
    known = {1: "north"}
    transport = transport_over(grid, known, deadline=10.0)
    found = {}
    for reply in transport.exchange({site: request(site) for site in ("north", "south")}):
        found[reply.site] = reply.content
        known[2] = "south"
    assert all(found.values())


def test_who_is_gone_is_not_waited_for():
    grid = KeyedGrid(echoing("north", "south"))
    transport = transport_over(grid, {1: "north"}, gone=lambda: {"south": "revoked"}, deadline=60.0)
    started = time.monotonic()
    found = {reply.site: reply for reply in transport.exchange({site: request(site) for site in ("north", "south")})}
    assert time.monotonic() - started < 10
    assert (found["south"].content, found["south"].reason) == (None, "revoked")
    assert found["north"].content is not None


def test_a_study_that_is_stopped_leaves_the_exchange():
    grid = KeyedGrid(echoing("north", "south"))

    def gone():
        raise StudyInterruptedError("stopped")

    transport = transport_over(grid, {1: "north"}, gone=gone, deadline=60.0)
    with pytest.raises(StudyInterruptedError):
        list(transport.exchange({"south": request("south")}))


def test_a_signed_request_travels_as_what_is_inside_it():
    payload = Envelope(PrepareRequest(study=STUDY, site="north")).to_bytes()
    signed = sign_request(payload, key=SigningKey.from_bytes(b"\x01" * 32), study="sha256:" + "0" * 64, site="north")
    assert message_type_of(signed) == message_type_of(payload) == "query.prepare"
