"""The Unix socket between gateway and agent: whole messages, one after another, and patience while an agent is restarted."""

import socket
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest

from federation.errors import TransportError
from site_client.agent_process import serve
from site_client.frames import receive_frame, send_frame
from site_client.gateway.agent_client import AgentClient

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
