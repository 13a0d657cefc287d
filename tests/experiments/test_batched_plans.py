"""How many workers the `batched` engine takes, and how it divides the sites."""

from __future__ import annotations

import os

import pytest

from experiments.benchmarks.workload import Workload
from experiments.engines.batched import blocks
from experiments.engines.batched.blocks import BlockPlan, plan_blocks, worthwhile_workers
from federation.models.build import build_model
from federation.models.stacked.network import stacked_network

BIG = 2**50
"""Products of a study that is worth any number of workers."""


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def _plan(workload: Workload, **plan) -> BlockPlan:
    manifest = workload.manifest()
    module = build_model(
        workload.model, task="binary", num_features=workload.num_features, num_outputs=1, private=workload.private
    )
    network = stacked_network(module)
    assert network is not None
    return plan_blocks(manifest, network, workload.data, device="cpu", **plan)


def _sizes(plan: BlockPlan, workload: Workload) -> list[int]:
    groups = plan.groups(workload.data)
    assert [site.site for group in groups for site in group] == list(workload.sites)
    return [len(group) for group in groups]


def test_there_is_one_worker_for_each_core_that_sites_fill() -> None:
    assert worthwhile_workers(100, work=BIG, fills_a_core=False) == 8
    assert worthwhile_workers(10, work=BIG, fills_a_core=False) == 2
    assert worthwhile_workers(3, work=BIG, fills_a_core=False) == 1
    assert worthwhile_workers(3, work=BIG, fills_a_core=True) == 3


def test_only_cores_that_the_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert worthwhile_workers(100, work=BIG, fills_a_core=True) == 1


def test_a_job_of_a_sweep_takes_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "parent_process", object)
    assert worthwhile_workers(100, work=BIG, fills_a_core=True) == 1


def test_a_small_study_makes_no_process() -> None:
    assert _plan(Workload(num_patients=50, rounds=3)).num_workers == 1
    assert _plan(Workload(num_patients=2000, rounds=20)).num_workers == 2


def test_what_is_asked_for_is_taken_with_two_sites_in_a_block_of_small_networks() -> None:
    workload = Workload(num_sites=7, num_patients=30)
    assert _sizes(_plan(workload), workload) == [7]
    assert _sizes(_plan(workload, num_workers=2), workload) == [3, 4]
    assert _sizes(_plan(workload, num_workers=3), workload) == [2, 2, 3]
    assert _sizes(_plan(workload, num_workers=8), workload) == [2, 2, 3]
    assert _sizes(_plan(workload, num_workers=1, memory_mib=0), workload) == [2, 2, 3]


def test_memory_is_shared_by_the_workers() -> None:
    workload = Workload(num_sites=60, num_patients=30)
    alone, shared = (_plan(workload, num_workers=number, memory_mib=6) for number in (1, 2))
    assert 2 * shared.block_sites <= alone.block_sites + 1 < 60
