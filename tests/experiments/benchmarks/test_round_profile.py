"""The profile of a round measures parts of the same round, plain and private."""

from __future__ import annotations

import pytest

from experiments.benchmarks.round_profile import parts_of_round, whole_round
from experiments.benchmarks.workload import Workload


@pytest.mark.parametrize("private", [False, True])
def test_the_parts_of_a_round_are_measured(*, private: bool) -> None:
    workload = Workload(num_sites=4, num_patients=40, batch_size=8, rounds=2, private=private)
    parts = parts_of_round(workload, 2)
    assert set(parts) == {"draws", "steps with their noise"} | ({"noise"} if private else set())
    assert all(seconds > 0 for seconds in parts.values())
    assert whole_round(workload, 1) > 0
