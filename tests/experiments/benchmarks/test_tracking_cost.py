"""The bench of tracking records every round and runs the study that it is compared with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aggregator import mlflow_delivery
from aggregator.mlflow_delivery import Delivery
from aggregator.outbox import Outbox
from aggregator.tracking import TrackingTarget
from experiments.benchmarks.alternation import Comparison, measure
from experiments.benchmarks.tracking_cost import batched_tracking_comparison, tracking_comparison
from experiments.benchmarks.workload import Workload


@pytest.mark.parametrize("comparison", [tracking_comparison, batched_tracking_comparison])
def test_both_ways_do_their_work_once_a_round(comparison: Callable[[Workload], Comparison]) -> None:
    found = measure(comparison(Workload(num_sites=2, num_patients=20, rounds=2, batch_size=4)), repetitions=1)
    assert found.ours > 0
    assert found.floor > 0
    assert found.unit == "round"


def test_a_round_is_beside_its_bytes_on_the_disk_and_beside_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered: list[int] = []
    original = mlflow_delivery.deliver

    def counted(outbox: Outbox, target: TrackingTarget) -> Delivery:
        found = original(outbox, target)
        delivered.append(found.delivered)
        return found

    monkeypatch.setattr(mlflow_delivery, "deliver", counted)
    work = Workload(num_sites=2, num_patients=20, rounds=3, batch_size=4)
    beside = {entry.name: entry.work for entry in tracking_comparison(work).beside}
    assert beside["tracking_round_floor"]() > 0
    assert beside["tracking_round_mlflow"]() > 0
    assert delivered[1:] == [1, 1, 1]
