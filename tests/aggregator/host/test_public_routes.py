"""Every route of Flower's application, as this version of Flower declares them, with every kind of credential: nothing succeeds."""

from __future__ import annotations

import datetime as dt

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from aggregator.host.gate import FLEET_ROUTES
from tests.aggregator.host.consortium import NOW, Consortium
from tests.aggregator.host.gate_bench import PROTOBUF

BODY = b"\x0a\x02\x08\x01"


def flower_routes() -> list[tuple[str, str]]:
    """(method, path) of everything that Flower serves, from its own application."""
    from flwr.superlink.main import create_app

    found = set()
    for context in iter_route_contexts(create_app().routes):
        path = getattr(context, "path", None) or getattr(context.route, "path", "")
        for method in getattr(context.route, "methods", None) or {"GET"}:
            found.add((method, path))
    return sorted(found)


@pytest.fixture(scope="module")
def routes():
    return flower_routes()


@pytest.fixture(scope="module")
def credentials(consortium, tmp_path_factory):
    """Certificate to show, and the site whose node key goes with it."""
    north, south = consortium.members["north"], consortium.members["south"]
    revoked = consortium.issue("north")
    consortium.revoke(revoked)
    foreign = Consortium(tmp_path_factory.mktemp("foreign"))
    return {
        "none": (None, north),
        "expired": (consortium.issue("north", now=NOW - dt.timedelta(days=100)), north),
        "revoked": (revoked, north),
        "another authority": (foreign.issue("north"), north),
        "another site's node key": (north, south),
    }


def test_flower_declares_what_the_gate_was_written_for(routes):
    paths = {path for _, path in routes}
    assert paths >= FLEET_ROUTES
    fleet = {path for path in paths if path.startswith("/v1/fleet/")}
    assert fleet - FLEET_ROUTES == {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}, "look at every new route"
    assert {"/health", "/docs", "/openapi.json", "/v1/control/start-run"} <= paths


def test_no_call_of_any_route_succeeds_without_the_right_credential(gate, consortium, credentials, routes):
    consortium.install(gate.layout)
    gate.membership.reread()
    calls, succeeded = 0, []
    for name, (shown, node) in credentials.items():
        for method, path in routes:
            calls += 1
            try:
                with gate.client(shown) as client:
                    answer = client.request(method, path, content=BODY, headers=PROTOBUF | node.node_headers())
                if answer.status_code < 400:
                    succeeded.append((name, method, path))
            except httpx.TransportError:
                pass
    assert calls >= 300
    assert succeeded == []
    assert gate.arrived == []


def test_with_the_right_credential_the_gates_routes_succeed_and_no_others(gate, consortium, routes):
    north = consortium.members["north"]
    with_success = set()
    for method, path in routes:
        with gate.client(north) as client:
            answer = client.request(method, path, content=BODY, headers=PROTOBUF | north.node_headers())
        if answer.status_code < 400:
            with_success.add((method, path))
    assert with_success == {("POST", path) for path in FLEET_ROUTES}
