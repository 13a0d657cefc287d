"""The bench of tracking records every round and runs the study that it is compared with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from experiments.benchmarks.alternation import Comparison, measure
from experiments.benchmarks.tracking_cost import batched_tracking_comparison, tracking_comparison
from experiments.benchmarks.workload import Workload


@pytest.mark.parametrize("comparison", [tracking_comparison, batched_tracking_comparison])
def test_both_ways_do_their_work_once_a_round(comparison: Callable[[Workload], Comparison]) -> None:
    found = measure(comparison(Workload(num_sites=2, num_patients=20, rounds=2, batch_size=4)), repetitions=1)
    assert found.ours > 0
    assert found.floor > 0
    assert found.unit == "round"
