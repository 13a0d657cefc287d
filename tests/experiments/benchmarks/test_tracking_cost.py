"""The bench of tracking records every round and runs the study that it is compared with."""

from __future__ import annotations

from experiments.benchmarks.alternation import measure
from experiments.benchmarks.tracking_cost import tracking_comparison
from experiments.benchmarks.workload import Workload


def test_both_ways_do_their_work_once_a_round() -> None:
    found = measure(tracking_comparison(Workload(num_sites=2, num_patients=20, rounds=2, batch_size=4)), repetitions=1)
    assert found.ours > 0
    assert found.floor > 0
    assert found.unit == "round"
