"""The gate lets members' nodes through, one route at a time, and stops everything else before Flower sees it."""

from __future__ import annotations

import pytest

from aggregator.host.gate import FLEET_ROUTES
from tests.aggregator.host.gate_bench import PROTOBUF, PULL, answer_of, head


def test_a_members_request_passes_whole_and_its_answer_comes_back(gate, consortium):
    gate.answer = b"\x01" * 300_000
    answer = gate.post(consortium.members["north"], content=b"\x02" * 200_000)
    assert (answer.status_code, answer.content) == (200, gate.answer)
    assert gate.arrived == [(PULL, 200_000)]


@pytest.mark.parametrize("route", sorted(FLEET_ROUTES))
def test_every_route_that_a_supernode_needs_is_open(gate, consortium, route):
    assert gate.post(consortium.members["north"], route).status_code == 200


def test_headers_of_the_connection_do_not_travel_on(gate, consortium):
    seen = []

    async def spy(request):
        seen.append(dict(request.headers))
        return await gate._superlink(request)

    gate.transport.handler = spy
    gate.post(
        consortium.members["north"], headers={"x-cohortium-token": "mine", "cookie": "a=b", "x-forwarded-for": "1"}
    )
    assert len(seen) == 1
    assert not {"x-cohortium-token", "cookie", "x-forwarded-for"} & set(seen[0])
    assert seen[0]["flwr-public-key"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health",
        "/docs",
        "/openapi.json",
        "/v1/fleet/",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/pull-messages/",
        "/v1/fleet//pull-messages",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/v1/fleet/pull%2Dmessages",
        "/v1/control/start-run",
        "/V1/fleet/pull-messages",
        "/v1/fleet/pull-messages?x=1",
        "//v1/fleet/pull-messages",
        "http://127.0.0.1/v1/control/start-run",
    ],
)
def test_no_other_path_passes_however_it_is_spelt(gate, consortium, path):
    north = consortium.members["north"]
    with gate.raw(north) as connection:
        connection.sendall(head(north, "content-length: 0", path=path))
        assert answer_of(connection) in (400, 404)
    assert gate.arrived == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PATCH"])
def test_only_post_passes(gate, consortium, method):
    north = consortium.members["north"]
    with gate.raw(north) as connection:
        connection.sendall(head(north, "content-length: 0", method=method))
        assert answer_of(connection) in (400, 404, 405)
    assert gate.arrived == []


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        ("transfer-encoding: chunked", {411}),
        ("x-nothing: 1", {411}),
        ("content-length: -1", {400, 411}),
        ("content-length: +5", {400, 411}),
        ("content-length: 0x10", {400, 411}),
        ("content-length: 104857600", {413}),
        ("content-length: 99999999999999999999999", {413, 400}),
        ("content-length: 3\r\ncontent-length: 4", {400}),
        ("content-length: 3\r\ntransfer-encoding: chunked", {400, 411}),
        ("content-length: 0\r\ncontent-encoding: gzip", {400}),
        ("content-length: 0\r\nexpect: 100-continue", {400}),
        ("content-length: 0\r\nconnection: upgrade\r\nupgrade: websocket", {400}),
        ("content-length: 0\r\nflwr-timestamp: 2026", {400}),
        ("content-length: 0\r\nx-long: " + "a" * 8000, {431}),
        ("content-length: 0\r\nx-longer: " + "a" * 40_000, {400, 431}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bodies_of_unknown_or_excessive_length_and_odd_headers_are_refused(gate, consortium, line, statuses):
    north = consortium.members["north"]
    with gate.raw(north) as connection:
        connection.sendall(head(north, line))
        assert answer_of(connection) in statuses
    assert gate.arrived == []


def test_another_media_type_is_refused(gate, consortium):
    north = consortium.members["north"]
    with gate.client(north) as client:
        answer = client.post(PULL, content=b"{}", headers=north.node_headers() | {"content-type": "application/json"})
    assert answer.status_code == 415
    assert gate.arrived == []


def test_a_body_that_grows_beyond_its_length_is_not_a_second_request(gate, consortium):
    north = consortium.members["north"]
    with gate.raw(north) as connection:
        connection.sendall(
            head(north, "content-length: 2") + b"ab" + head(north, "content-length: 0", path="/v1/control/start-run")
        )
        assert answer_of(connection) == 200
    assert gate.arrived == [(PULL, 2)]


def test_refusals_say_nothing_and_close(gate, consortium):
    answer = gate.post(consortium.members["north"], "/docs")
    assert answer.content == b""
    assert answer.headers["connection"] == "close"
    assert "server" not in answer.headers


def test_a_superlink_that_is_down_is_something_to_try_again(gate, consortium):
    import httpx

    async def broken(request):
        raise httpx.ConnectError("no")

    gate.transport.handler = broken
    assert gate.post(consortium.members["north"]).status_code == 502


def test_one_sites_node_key_is_no_use_with_another_sites_certificate(gate, consortium):
    north, south = consortium.members["north"], consortium.members["south"]
    with gate.client(north) as client:
        for headers in (south.node_headers(), {}, north.node_headers() | {"flwr-public-key": "%%%"}):
            assert client.post(PULL, headers=PROTOBUF | headers).status_code == 401
        assert client.post(PULL, headers=PROTOBUF | north.node_headers()).status_code == 200
    assert len(gate.arrived) == 1
