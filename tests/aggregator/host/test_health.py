"""Health and metrics answer on loopback, and say it when something is wrong."""

from __future__ import annotations

import json
import socket

import pytest

from aggregator.host.health import HealthServer, ask, wait_for_health


@pytest.fixture
def facts():
    return {"problems": []}


@pytest.fixture
def port(facts):
    with HealthServer(0, health=lambda: facts, metrics=lambda: ["# TYPE a gauge", "a 1"]) as server:
        yield server.port


def test_a_process_is_well_until_it_names_a_problem(port, facts):
    assert ask(port)[0] == 200
    assert wait_for_health(port, seconds=1)
    facts["problems"] = ["process gate does not run"]
    status, text = ask(port)
    assert status == 503
    assert json.loads(text)["problems"] == ["process gate does not run"]
    assert not wait_for_health(port, seconds=0.3)


def test_metrics_are_text_and_other_pages_are_not_there(port):
    assert ask(port, "/metrics") == (200, "# TYPE a gauge\na 1\n")
    assert ask(port, "/")[0] == ask(port, "/metrics/..")[0] == 404


def test_it_listens_on_loopback_only(port):
    try:
        outside = socket.gethostbyname(socket.gethostname())
    except OSError:
        pytest.skip("this machine has no name")
    if outside.startswith("127."):
        pytest.skip("this machine has no other address")
    with socket.socket() as probe:
        probe.settimeout(1)
        assert probe.connect_ex((outside, port)) != 0


def test_nobody_there_is_no_exception():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert ask(free) == (0, "")
