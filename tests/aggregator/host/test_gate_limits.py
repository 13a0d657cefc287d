"""Token buckets and counts: exact at their edges."""

from __future__ import annotations

import pytest

from aggregator.host.gate_limits import GateCounts, SiteLimits
from aggregator.host.home import GateLimits


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def admitted(limits, site, times):
    found = []
    for _ in range(times):
        with limits.admit(site) as refused:
            found.append(refused)
    return found


def test_a_burst_then_the_rate():
    clock = Clock()
    limits = SiteLimits(GateLimits(requests_per_second=2.0, burst=3), clock=clock)
    assert admitted(limits, "north", 5) == ["", "", "", "rate", "rate"]
    assert admitted(limits, "south", 1) == [""]
    clock.seconds += 0.5
    assert admitted(limits, "north", 2) == ["", "rate"]
    clock.seconds += 3600
    assert admitted(limits, "north", 4) == ["", "", "", "rate"]


def test_a_place_is_free_again_however_the_request_ends():
    limits = SiteLimits(GateLimits(in_flight=1, burst=100), clock=Clock())
    with limits.admit("north") as first, limits.admit("north") as second, limits.admit("south") as other:
        assert (first, second, other) == ("", "in_flight", "")
    with pytest.raises(RuntimeError), limits.admit("north"):
        raise RuntimeError
    assert admitted(limits, "north", 2) == ["", ""]


def test_metrics_are_prometheus_text_and_count_what_happened():
    counts = GateCounts()
    counts.requests["north", "pull-messages", 200] += 3
    counts.refused["rate"] += 1
    counts.received["north"] += 10
    counts.connections = 2
    lines = counts.as_metrics()
    assert 'cohortium_gate_requests_total{site="north",route="pull-messages",status="200"} 3' in lines
    assert 'cohortium_gate_refused_total{reason="rate"} 1' in lines
    assert 'cohortium_gate_bytes_received_total{site="north"} 10' in lines
    assert lines[-1] == "cohortium_gate_connections 2"
    assert all(line.startswith("# TYPE ") or line.rpartition(" ")[2].isdigit() for line in lines)
