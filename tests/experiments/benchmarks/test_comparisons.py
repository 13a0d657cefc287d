"""What is called the same work is the same work."""

from __future__ import annotations

import pytest

from experiments.benchmarks.comparisons import bare_round, comparisons, mean_loss, ours_round
from experiments.benchmarks.machine import machine_facts
from experiments.benchmarks.workload import Workload


@pytest.fixture
def small() -> Workload:
    return Workload(num_sites=2, num_patients=96, num_features=5, hidden=8, batch_size=16, rounds=2)


def test_both_ways_of_a_round_reach_the_same_loss(small: Workload) -> None:
    # Full batches: the order of patients does not matter, so the two must agree to rounding.
    whole = Workload(num_sites=2, num_patients=96, num_features=5, hidden=8, batch_size=96, rounds=2)
    manifest = whole.manifest()
    seconds, ours = ours_round(whole, manifest)
    floor_seconds, floor = bare_round(whole, manifest)
    assert seconds > 0
    assert floor_seconds > 0
    assert ours == pytest.approx(floor, abs=1e-6)
    assert mean_loss(whole, manifest, ours) == pytest.approx(mean_loss(whole, manifest, floor), abs=1e-6)
    assert small.local_steps == 6


def test_every_comparison_runs(small: Workload) -> None:
    found = {comparison.name: comparison for comparison in comparisons(small)}
    assert set(found) >= {
        "inline_round", "private_step_16", "private_step_256", "secure_noise", "ledger_charge", "start_up",
    }  # fmt: skip
    for name in ("inline_round", "private_step_16"):
        found[name].ours()
        found[name].floor()


def test_the_private_study_keeps_its_promise(small: Workload) -> None:
    assert small.manifest(private=True).mechanism("site-0").steps == small.rounds * small.local_steps


def test_the_facts_of_the_machine_name_what_a_reader_needs() -> None:
    facts = machine_facts()
    assert facts["processor"]
    assert "torch" in facts["versions"]
