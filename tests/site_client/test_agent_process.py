"""The Unix socket between gateway and agent: whole messages, one after another, and patience while an agent is restarted."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from federation.errors import ConfigurationError, TransportError
from site_client import network_isolation
from site_client.agent_process import serve
from site_client.frames import receive_frame, send_frame
from site_client.gateway.agent_client import AgentClient
from site_client.gateway_notice import NOTICE, notice_of, reason_in

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(prefix="cohortium-") as folder:  # a socket's path has at most 107 bytes
        yield Path(folder) / "0"


def serving(path, handle):
    threading.Thread(target=serve, args=(path, handle), daemon=True).start()


def test_a_request_gets_its_reply_whole(path):
    serving(path, lambda request: request[::-1])
    large = bytes(range(256)) * 20_000
    assert AgentClient(path).handle(large) == large[::-1]
    assert AgentClient(path).handle(b"") == b""


def test_only_the_owner_may_use_the_socket(path):
    serving(path, bytes)
    AgentClient(path).handle(b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_requests_are_answered_one_after_another(path):
    running, most = [], []

    def handle(request):
        running.append(request)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(request)
        return request

    serving(path, handle)
    callers = [threading.Thread(target=AgentClient(path).handle, args=(bytes([n]),)) for n in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most == [1] * 8


def test_a_gateway_waits_for_an_agent_that_is_started_later(path):
    found = []
    caller = threading.Thread(target=lambda: found.append(AgentClient(path).handle(b"x")))
    caller.start()
    time.sleep(0.2)
    serving(path, lambda request: request + b"y")
    caller.join(5)
    assert found == [b"xy"]


def test_an_agent_that_dies_before_it_answers_is_asked_again_with_the_same_bytes(path):
    seen = []

    def dying():
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            connection, _ = listener.accept()
            with connection:
                seen.append(receive_frame(connection))
        serve(path, lambda request: seen.append(request) or b"answer")

    threading.Thread(target=dying, daemon=True).start()
    assert AgentClient(path).handle(b"request") == b"answer"
    assert seen == [b"request", b"request"]


def test_an_agent_that_never_comes_is_an_error_without_its_folder(path):
    with pytest.raises(TransportError, match="FileNotFoundError") as failure:
        AgentClient(path, patience_seconds=0.1).handle(b"")
    assert str(path) not in str(failure.value)


def test_an_announced_length_reserves_nothing_and_too_much_is_refused():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall((2**30).to_bytes(8, "little") + b"few")
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError, match="after 3"):
            receive_frame(ours)
        send_frame(ours, b"four")
        with pytest.raises(TransportError, match="at most 3 bytes"):
            receive_frame(theirs, maximum_bytes=3)


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="needs Linux")
def test_only_the_gateways_account_is_answered(path):
    asked = []
    other = os.getuid() + 1
    threading.Thread(
        target=serve, args=(path, lambda request: asked.append(request) or request), kwargs={"peer": other}, daemon=True
    ).start()
    while not path.is_socket():
        time.sleep(0.01)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError):
            send_frame(connection, b"x")
        with pytest.raises(ConnectionResetError):
            receive_frame(connection)
    assert asked == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="needs Linux")
def test_the_account_that_is_named_is_answered(path):
    threading.Thread(target=serve, args=(path, bytes), kwargs={"peer": os.getuid()}, daemon=True).start()
    assert AgentClient(path).handle(b"x") == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_announced_length_beyond_the_limit_costs_no_memory_and_no_patience(path):
    serving(path, bytes)
    AgentClient(path).handle(b"")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall((100 * 10**9).to_bytes(8, "little"))
        assert connection.recv(1) == b""
    assert AgentClient(path).handle(b"still there") == b"still there"


def test_a_path_that_is_too_long_for_a_socket_says_so(tmp_path):
    with pytest.raises(ConfigurationError, match="socket"):
        serve(tmp_path / ("x" * 120), bytes)


def test_a_process_that_must_have_no_network_does_not_start_with_one(monkeypatch):
    monkeypatch.setattr(network_isolation, "networks_up", lambda: ("eth0",))
    with pytest.raises(ConfigurationError, match="eth0"):
        network_isolation.check_no_network()
    monkeypatch.setattr(network_isolation, "networks_up", tuple)
    network_isolation.check_no_network()


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_the_interfaces_of_a_network_namespace_are_seen():
    code = "from site_client.network_isolation import networks_up; print(networks_up())"
    found = subprocess.run(
        ["unshare", "--map-root-user", "--net", sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        pytest.skip("this account may not make a network namespace")
    assert found.stdout.strip() == "()"
    bridge = 'ip link add name probe type bridge && ip link set probe up && exec "$@"'
    command = ["unshare", "--map-root-user", "--net", "sh", "-c", bridge, "sh", sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("no bridge can be made here")
    assert found.stdout.strip() == "('probe',)"


def test_an_agent_is_told_of_a_refused_run_and_one_that_is_away_is_not_waited_for(path):
    AgentClient(path).notify("bundle")
    told = []
    serving(path, lambda request: told.append(request) or b"")
    while not path.is_socket():
        time.sleep(0.01)
    AgentClient(path).notify("bundle")
    assert told == [notice_of("bundle")]
    assert reason_in(told[0]) == "bundle"
    assert [reason_in(content) for content in (b"", NOTICE, NOTICE + b"other", b"bundle")] == [None] * 4


def test_an_agent_that_shows_everybody_out_is_not_asked_for_ever(tmp_path):
    """It accepts and closes, as it does for an account that it does not answer: the gateway gives up, and has not run hot."""
    path, accepted = tmp_path / "socket", []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def show_out():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(1)
                connection.close()

        threading.Thread(target=show_out, daemon=True).start()
        with pytest.raises(TransportError):
            AgentClient(path, patience_seconds=0.5).handle(b"x")
    assert 2 <= len(accepted) <= 12
