"""Networks of a rehearsal: only the gate's port passes, a hole is noticed, a listener is noticed, nothing stays behind."""

import subprocess
from pathlib import Path

import pytest

from experiments.rehearsal import networks as module
from experiments.rehearsal.networks import PORT, Networks, check_usable, problem_here
from experiments.rehearsal.reach import (
    OTHER_PORT,
    check_wall,
    expect,
    listening,
    look_inside,
    open_to_others,
    peers,
    reachable,
)
from federation.errors import ConfigurationError, StudyError

PROBLEM = problem_here()
needs_namespaces = pytest.mark.skipif(bool(PROBLEM), reason=f"network namespaces cannot be made here: {PROBLEM}")
SITES = ("north", "south")


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert problem_here() == "ip, iptables, ss, unshare not installed"
    with pytest.raises(ConfigurationError, match="ip, iptables, ss, unshare not installed") as refused:
        check_usable()
    assert "leave --namespaces away" in refused.value.remedy


def test_only_root_makes_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOOLS", ())
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    assert problem_here() == "not root"


def test_what_differs_is_an_error() -> None:
    expect("north reaches", {"a"}, {"a"})
    with pytest.raises(StudyError, match=r"north reaches: expected \{'a'\}, got set\(\)"):
        expect("north reaches", set(), {"a"})


@pytest.mark.slow
@needs_namespaces
def test_a_site_reaches_the_gate_and_nothing_else() -> None:
    with Networks(SITES, name="cohortium-test-a") as made:
        seen = check_wall(made)
        assert "reaches 10.231.0.2:8443 and nothing else" in seen[1]
        assert made.address("north") == "10.231.1.2"
        machine = look_inside((), "ip", "-o", "-4", "address", "show")
        assert "10.231." not in machine  # nothing of it is in the machine's own network
        with listening(made.host, PORT, OTHER_PORT), listening(made.site("south"), OTHER_PORT):
            targets = {f"{made.gate}:{PORT}", f"{made.gate}:{OTHER_PORT}", f"{made.address('south')}:{OTHER_PORT}"}
            assert reachable(made.site("north"), targets) == {f"{made.gate}:{PORT}"}
            made.cut("north")
            assert reachable(made.site("north"), targets) == set()
            assert reachable(made.site("south"), targets) >= {f"{made.gate}:{PORT}"}
            made.heal("north")
            assert reachable(made.site("north"), targets) == {f"{made.gate}:{PORT}"}
    assert "cohortium-test-a" not in namespaces()


@pytest.mark.slow
@needs_namespaces
def test_a_hole_in_the_wall_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_hole(self: Networks) -> None:
        closed(self)
        self._rule("-A", "FORWARD", "-p", "tcp", "--dport", str(OTHER_PORT), "-j", "ACCEPT")
        self._rule("-A", "FORWARD", "-p", "tcp", "--sport", str(OTHER_PORT), "-j", "ACCEPT")

    closed = Networks.close_wall
    monkeypatch.setattr(Networks, "close_wall", with_a_hole)
    with pytest.raises(StudyError, match="north reaches: expected"), Networks(SITES, name="cohortium-test-b") as made:
        check_wall(made)
    assert "cohortium-test-b" not in namespaces()


@pytest.mark.slow
@needs_namespaces
def test_listeners_and_connections_are_seen() -> None:
    with Networks(SITES, name="cohortium-test-c") as made:
        north = made.site("north")
        assert open_to_others(north) == []
        with listening(north, 9000):
            assert open_to_others(north) == ["tcp 0.0.0.0:9000"]
        code = "import socket, sys; s = socket.create_server(('127.0.0.1', 9000)); u = socket.socket(type=socket.SOCK_DGRAM);"
        code += "u.bind(('', 9001)); print('up', flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [*north, "python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as running:
            assert running.stdout.readline() == b"up\n"
            assert open_to_others(north) == ["udp 0.0.0.0:9001"]  # loopback is nobody else's
            running.stdin.close()
        hold = f"import socket, sys; s = socket.create_connection(('{made.address('south')}', 9000)); print('up', flush=True);"
        with (
            listening(made.site("south"), 9000),
            subprocess.Popen(
                [*north, "python3", "-c", f"{hold} sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as connected,
        ):
            assert connected.stdout.readline() == b"up\n"
            assert peers(north) == {f"{made.address('south')}:9000"}
            connected.stdin.close()


@pytest.mark.slow
@needs_namespaces
def test_networks_that_cannot_be_made_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NETWORK", "10.999")
    with pytest.raises(StudyError, match=r"10\.999"), Networks(SITES, name="cohortium-test-d"):
        pass
    assert "cohortium-test-d" not in namespaces()
