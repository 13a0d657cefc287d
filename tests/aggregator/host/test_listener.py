"""Nobody gets as far as a request without a certificate of the authority, and nobody may dawdle."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.aggregator.host.consortium import (
    NOW,
    Consortium,
    client_certificate_of_a_server,
    client_context,
)
from tests.aggregator.host.gate_bench import PULL, answer_of, head, is_cut


def post_fails(gate, shown, node) -> bool:
    """Whether a request with one site's certificate and another's node key comes to nothing."""
    try:
        with gate.client(shown) as client:
            headers = {"content-type": "application/protobuf"} | node.node_headers()
            return client.post(PULL, headers=headers).status_code != 200
    except httpx.TransportError:
        return True


def strangers(consortium, tmp_path):
    north = consortium.members["north"]
    foreign = Consortium(tmp_path / "foreign")
    return {
        "none": None,
        "expired": consortium.issue("north", now=NOW - dt.timedelta(days=100)),
        "not yet valid": consortium.issue("north", now=NOW + dt.timedelta(days=2)),
        "another authority": foreign.issue("north"),
        "a server's": client_certificate_of_a_server(consortium),
        "another consortium's name": consortium.issue("north", consortium="lungs"),
        "no member": consortium.issue("east"),
    }, north


def test_only_certificates_of_members_get_in(gate, consortium, tmp_path):
    found, north = strangers(consortium, tmp_path)
    assert [name for name, site in found.items() if not post_fails(gate, site, north)] == []
    assert gate.arrived == []
    assert not post_fails(gate, north, north)


def test_older_tls_is_refused(gate, consortium):
    context = client_context(gate.ca, consortium.members["north"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    host, _, port = gate.home.listen.partition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_plain_http_gets_nothing(gate):
    host, _, port = gate.home.listen.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert plain.recv(100)[:1] in (b"", b"\x15")  # nothing, or a TLS alert


def test_a_handshake_that_does_not_come_is_cut(gate_of, consortium):
    gate = gate_of(consortium, handshake_seconds=0.5)
    host, _, port = gate.home.listen.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        assert is_cut(plain, seconds=5)
    deadline = time.monotonic() + 5
    while gate.counts.connections and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gate.counts.connections == 0


def test_slow_heads_are_cut_also_after_a_first_request(gate_of, consortium):
    gate = gate_of(consortium, header_seconds=0.6)
    north = consortium.members["north"]
    whole = head(north, "content-length: 0")
    with gate.raw(north) as silent, gate.raw(north) as drip, gate.raw(north) as second:
        second.sendall(whole)
        assert answer_of(second) == 200
        for connection in (drip, second):
            connection.sendall(whole[:20])
        started = time.monotonic()
        cut = threading.Event()

        def keep_dripping():
            with contextlib.suppress(OSError):
                for byte in whole[20:]:
                    drip.sendall(bytes([byte]))
                    time.sleep(0.1)
            cut.set()

        threading.Thread(target=keep_dripping, daemon=True).start()
        assert is_cut(silent, seconds=5)
        assert is_cut(second, seconds=5)
        assert cut.wait(5)
        assert time.monotonic() - started < 4
    assert len(gate.arrived) == 1


def test_slow_bodies_are_cut(gate_of, consortium):
    gate = gate_of(consortium, idle_seconds=0.5, slowest_bytes_per_second=1000)
    north = consortium.members["north"]
    with gate.raw(north) as stuck, gate.raw(north) as slow:
        stuck.sendall(head(north, "content-length: 1000") + b"x")
        assert answer_of(stuck) == 408
        slow.sendall(head(north, "content-length: 1000"))
        with contextlib.suppress(OSError):
            for _ in range(40):  # never idle for long, but 50 bytes a second
                slow.sendall(b"x" * 5)
                time.sleep(0.1)
        assert answer_of(slow) in (0, 408)
    assert gate.arrived == []


def test_a_site_has_so_many_requests_at_once_and_no_more(gate_of, consortium):
    gate = gate_of(consortium, in_flight=2)
    north = consortium.members["north"]
    gate.wait_before_answer = threading.Event()
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(gate.post(north).status_code)) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while len(gate.arrived) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gate.post(north).status_code == 503
    gate.wait_before_answer.set()
    for thread in threads:
        thread.join(5)
    assert statuses == [200, 200]
    assert gate.post(consortium.members["south"]).status_code == 200


def test_a_fast_site_is_slowed_and_the_other_is_not(gate_of, consortium):
    gate = gate_of(consortium, requests_per_second=1, burst=5)
    north, south = consortium.members["north"], consortium.members["south"]
    statuses = [gate.post(north).status_code for _ in range(9)]
    assert statuses[:5] == [200] * 5
    assert statuses.count(503) >= 2
    assert gate.post(south).status_code == 200


def test_one_address_has_so_many_connections(gate_of, consortium):
    gate = gate_of(consortium, connections_per_address=3)
    north = consortium.members["north"]
    with gate.raw(north), gate.raw(north), gate.raw(north):
        with pytest.raises((OSError, httpx.TransportError)), gate.raw(north):
            pass
        assert gate.counts.refused["connections"] >= 1
    deadline = time.monotonic() + 5
    while gate.counts.connections and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gate.post(north).status_code == 200


def test_bytes_that_are_no_http_are_counted_and_the_connection_ends(gate, consortium):
    with gate.raw(consortium.members["north"]) as connection:
        connection.sendall(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert is_cut(connection, seconds=5)
    assert gate.counts.refused["malformed"] == 1


def test_every_answer_says_what_time_it_is(gate, consortium):
    """A site's doctor compares its clock with it: on answers that pass, on refusals, and anew each time."""
    north = consortium.members["north"]
    with gate.client(north) as client:
        headers = {"content-type": "application/protobuf"} | north.node_headers()
        answers = [client.post(PULL, headers=headers)]
        time.sleep(1.1)
        answers += [client.post(PULL, headers=headers), client.get("/")]
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    times = [parsedate_to_datetime(answer.headers["date"]) for answer in answers]
    assert times[0] < times[1] <= times[2]
    assert all(len(answer.headers.get_list("date")) == 1 for answer in answers)
    assert abs(dt.datetime.now(tz=dt.UTC) - times[2]) < dt.timedelta(seconds=30)
