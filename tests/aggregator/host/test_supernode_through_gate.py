"""Flower's own client, with a consortium certificate, through the gate to the real SuperLink; and nothing calls out meanwhile."""

from __future__ import annotations

import time

import httpx
import pytest
from flwr.app import Message
from flwr.proto.fleet_pb2 import RegisterNodeFleetRequest

from aggregator.flower_messages import from_pieces, in_pieces
from aggregator.host.gate import TOKEN_HEADER
from aggregator.host.health import ask
from aggregator.host.home import LOOPBACK
from aggregator.host.registering import Registrar
from aggregator.host.revocation import Membership
from aggregator.superlink import Link
from tests.aggregator.host.consortium import client_context
from tests.aggregator.host.fake_site import FakeSite
from tests.aggregator.host.gate_bench import PROTOBUF
from tests.aggregator.host.host_bench import running_host, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*gitwildmatch.*:DeprecationWarning")]

SPY = """
import os, socket
_connect, _connect_ex, _resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo
def _note(what):
    with open(os.environ["TMPDIR"] + "/connections", "a") as stream:
        stream.write(what + "\\n")
def connect(self, address):
    _note(str(address[0]) if isinstance(address, tuple) else "unix")
    return _connect(self, address)
def connect_ex(self, address):
    _note(str(address[0]) if isinstance(address, tuple) else "unix")
    return _connect_ex(self, address)
def getaddrinfo(host, *rest, **more):
    _note(host.decode() if isinstance(host, bytes) else str(host))
    return _resolve(host, *rest, **more)
socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = connect, connect_ex, getaddrinfo
_note("loaded")
"""


@pytest.fixture
def spied(tmp_path, monkeypatch):
    """Every Python process of the host notes whom it connects to or asks the name of."""
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "spy"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spy"))
    return tmp_path / "spy" / "connections"


@pytest.fixture
def host(own_consortium, tmp_path, spied):
    layout, home = own_consortium.host(tmp_path / "host", tracking=True, reread_seconds=1.0)
    with running_host(layout):
        yield layout, home


def test_a_supernode_works_through_the_gate_until_it_is_revoked_and_nothing_calls_out(host, own_consortium, spied):
    layout, home = host
    north = own_consortium.members["north"]
    headers = {TOKEN_HEADER: layout.control_token.read_text()}
    address = f"{LOOPBACK}:{home.superlink_port}"
    site = FakeSite(home.listen, own_consortium.ca_file, north, lambda request: b"reply to " + request)
    link = Link(address, secret=layout.executor_secret.read_bytes(), headers=headers)
    grid = link.open()
    site.start()
    wait_until(lambda: list(grid.get_node_ids()), seconds=30, what="the node is connected")
    [node] = grid.get_node_ids()
    content = bytes(range(256)) * 50_000  # 12.8 MB: more than one body may have

    def ask_it():
        message = Message(in_pieces(content), node, "train.update", ttl=60)
        [identifier] = grid.push_messages([message])
        return identifier

    identifier = ask_it()
    found = []
    wait_until(lambda: found.extend(grid.pull_messages([identifier])) or found, seconds=60, what="an answer comes")
    assert from_pieces(found[0].content) == b"reply to " + content

    membership = Membership(layout, clock=time.monotonic, now=own_consortium_now, reread_seconds=0.1)
    registrar = Registrar(address, headers=headers, membership=membership)
    assert registrar.sites()[node] == "north"

    own_consortium.revoke(north)
    own_consortium.install(layout)
    started = time.monotonic()
    wait_until(lambda: "north" not in registrar.sites().values(), seconds=20, what="Flower forgets the node")
    wait_until(lambda: node not in grid.get_node_ids(), seconds=20, what="the grid has no such node")
    assert time.monotonic() - started < 60
    answered = site.answered
    ask_it()
    time.sleep(3)
    assert site.answered == answered
    site.stop()
    link.close()

    everybody = set(spied.read_text().split())
    assert "loaded" in everybody
    assert everybody - {"loaded", "unix"} <= {"127.0.0.1", "localhost", "::1", "None"}


def own_consortium_now():
    import datetime as dt

    return dt.datetime.now(tz=dt.UTC)


def test_the_superlink_itself_is_closed_to_local_users_and_mlflow_asks_for_a_password(host, own_consortium):
    layout, home = host
    base = f"http://{LOOPBACK}:{home.superlink_port}"
    gate = {TOKEN_HEADER: layout.gate_token.read_text()}
    for headers in ({}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: "x" * 43}, gate):
        for path in (
            "/v1/control/start-run",
            "/v1/control/list-nodes",
            "/v1/runtime/acquire-task",
            "/docs",
            "/openapi.json",
        ):
            assert httpx.post(base + path, headers=PROTOBUF | headers).status_code == 404
            assert httpx.get(base + path, headers=headers).status_code == 404
    register = RegisterNodeFleetRequest(public_key=b"mine").SerializeToString()
    assert httpx.post(base + "/v1/fleet/register-node", content=register, headers=PROTOBUF | gate).status_code == 404
    north = own_consortium.members["north"]
    with httpx.Client(verify=client_context(own_consortium.ca_file, north), trust_env=False) as client:
        answer = client.post(
            f"https://{home.listen}/v1/fleet/register-node", content=register, headers=PROTOBUF | north.node_headers()
        )
    assert answer.status_code == 404
    tracking = f"http://{LOOPBACK}:{home.mlflow_port}/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(tracking).status_code == 401
    assert httpx.get(tracking, auth=("admin", "password")).status_code == 401
    assert httpx.get(tracking, auth=("admin", layout.tracking_password.read_text())).status_code == 200
    assert "cohortium_process_up" in ask(home.health_port, "/metrics")[1]
