"""One consortium and one standing gate for the tests of a module: making keys and listeners takes time."""

from __future__ import annotations

import pytest

from aggregator.host.home import GateLimits
from tests.aggregator.host.consortium import Consortium
from tests.aggregator.host.gate_bench import GateBench


@pytest.fixture(scope="module")
def consortium(tmp_path_factory):
    """An authority with the members north and south, for tests that change nothing about it."""
    return _consortium(tmp_path_factory.mktemp("consortium"))


@pytest.fixture
def own_consortium(tmp_path):
    """The same, for one test alone."""
    return _consortium(tmp_path)


def _consortium(folder):
    found = Consortium(folder / "authority")
    found.issue("north", member=True)
    found.issue("south", member=True)
    return found


@pytest.fixture(scope="module")
def standing_gate(consortium, tmp_path_factory):
    layout, home = consortium.host(
        tmp_path_factory.mktemp("host") / "host", limits=GateLimits(requests_per_second=1e4, burst=100_000)
    )
    with GateBench(layout, home, consortium.ca_file) as bench:
        yield bench


@pytest.fixture
def gate(standing_gate):
    """A gate with the usual limits but for the rate; what reached its SuperLink is counted for this test alone."""
    standing_gate.arrived.clear()
    standing_gate.counts.refused.clear()
    standing_gate.answer = b"yes"
    standing_gate.transport.handler = standing_gate._superlink
    return standing_gate


@pytest.fixture
def gate_of(tmp_path):
    """Starts a gate with limits of the test's choice; it ends with the test."""
    started = []

    def start(consortium: Consortium, *, reread_seconds: float = 5.0, **limits: object) -> GateBench:
        layout, home = consortium.host(
            tmp_path / "host", limits=GateLimits.from_data(limits), reread_seconds=reread_seconds
        )
        bench = GateBench(layout, home, consortium.ca_file)
        started.append(bench.__enter__())
        return bench

    yield start
    for bench in started:
        bench.__exit__()
