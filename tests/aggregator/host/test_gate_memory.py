"""Large bodies and slow clients cost the gate's process no memory to speak of, and other sites no time."""

from __future__ import annotations

import contextlib
import socket
import time

import httpx
import pytest

from aggregator.host.health import ask, wait_for_health
from aggregator.host.home import GateLimits
from tests.aggregator.host.consortium import client_context
from tests.aggregator.host.gate_bench import PROTOBUF, PULL, answer_of, head
from tests.aggregator.host.host_bench import memory_of, process

pytestmark = pytest.mark.slow
MEBIBYTE = 1024 * 1024


@pytest.fixture
def gate_process(consortium, tmp_path):
    limits = GateLimits(connections_per_address=300, header_seconds=20.0, requests_per_second=1e4, burst=10_000)
    layout, home = consortium.host(tmp_path / "host", limits=limits)
    with process(layout, "gate_process") as found:
        assert wait_for_health(home.gate_health_port, seconds=60)
        yield found, home


def connect(home, consortium, site, context):
    host, _, port = home.listen.partition(":")
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=20), server_hostname="localhost")


def test_bodies_of_100_megabytes_and_200_slow_clients_leave_memory_flat(gate_process, consortium):
    found, home = gate_process
    north, south = consortium.members["north"], consortium.members["south"]
    context = client_context(consortium.ca_file, north)
    with connect(home, consortium, north, context) as connection:
        connection.sendall(head(north, "content-length: 0"))
        assert answer_of(connection) == 502  # there is no SuperLink in this test
    before = memory_of(found.pid)
    for _ in range(5):
        with connect(home, consortium, north, context) as connection, contextlib.suppress(OSError):
            connection.sendall(head(north, f"content-length: {100 * MEBIBYTE}"))
            for _ in range(100):
                connection.sendall(b"\0" * MEBIBYTE)
    with connect(home, consortium, north, context) as connection, contextlib.suppress(OSError):
        connection.sendall(head(north, "transfer-encoding: chunked"))
        for _ in range(100):
            connection.sendall(b"100000\r\n" + b"\0" * MEBIBYTE + b"\r\n")
    assert memory_of(found.pid) - before < 20 * MEBIBYTE
    slow = []
    try:
        for _ in range(200):
            connection = connect(home, consortium, north, context)
            connection.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\nx-slow: ")
            slow.append(connection)
        assert memory_of(found.pid) - before < 100 * MEBIBYTE
        with httpx.Client(
            verify=client_context(consortium.ca_file, south), base_url=f"https://{home.listen}", trust_env=False
        ) as client:
            started = time.monotonic()
            assert client.post(PULL, content=b"", headers=PROTOBUF | south.node_headers()).status_code == 502
            assert time.monotonic() - started < 2
    finally:
        for connection in slow:
            connection.close()
    metrics = ask(home.gate_health_port, "/metrics")[1]
    assert 'cohortium_gate_refused_total{reason="length"} 5' in metrics
    assert 'cohortium_gate_refused_total{reason="chunked"} 1' in metrics
