"""How many workers the `batched` engine takes, and how it divides the sites."""

from __future__ import annotations

import os

import pytest

from experiments.benchmarks.workload import CNN, CNN_FEATURES, WIDE_MLP, Workload
from experiments.engines.batched import blocks
from experiments.engines.batched.block_memory import most_places, site_bytes
from experiments.engines.batched.blocks import BlockPlan, plan_blocks, worthwhile_workers
from federation.models.build import build_model
from federation.models.stacked.memory import PAIR_BYTES
from federation.models.stacked.network import StackedNetwork, stacked_network
from federation.study.network import network_of
from tests.experiments.batched_study import data_of, study

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


def _network(manifest) -> StackedNetwork:
    network = stacked_network(network_of(manifest, num_features=16))
    assert network is not None
    return network


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


def test_what_a_block_needs_is_counted_with_all_that_it_holds() -> None:
    """Growing with several records a patient, by pairs too; with float64 sums and noise; with the model."""
    needed = [
        _plan(workload, num_workers=1, memory_mib=1024).needed_bytes
        for workload in (
            Workload(num_sites=4, num_patients=100, model=WIDE_MLP),
            Workload(num_sites=4, num_patients=100, model=WIDE_MLP, private=True),
        )
    ]
    size, ahead = 1_033_001, 5 * 32 * 2**20  # a block of one site
    assert needed[0] - ahead > 4 * 4 * size
    assert needed[1] - needed[0] >= 4 * (4 + 2 + 1) * size


def test_every_pair_of_records_counts_where_patients_have_several() -> None:
    manifest = study(model="mlp", privacy="private")
    network = _network(manifest)
    one, several = (
        site_bytes(manifest, network, num_features=16, places=1024, single=single) for single in (True, False)
    )
    assert several - one == PAIR_BYTES * 1024**2
    places = [most_places(manifest, data_of(manifest, most=most)) for most in (1, 9)]
    assert places[1] > 2 * places[0]


def test_no_more_workers_than_memory_holds_unless_they_are_asked_for() -> None:
    workload = Workload(num_sites=8, num_patients=2000, num_features=CNN_FEATURES, model=CNN, batch_size=256, rounds=20)
    plans = [_plan(workload, memory_mib=memory) for memory in (4096, 400, 16)]
    assert [plan.block_sites for plan in plans] == [1, 1, 1]
    workers = [plan.num_workers for plan in plans]
    assert workers[0] == 8 > workers[1] > workers[2] == 1
    assert plans[1].needed_bytes <= 400 * 2**20 < 2**20 * 16 + plans[2].needed_bytes * 8
    assert _plan(workload, memory_mib=16, num_workers=3).num_workers == 3


def test_what_is_made_ahead_follows_the_memory() -> None:
    workload = Workload(num_sites=6, num_patients=30)
    ahead = [_plan(workload, num_workers=workers, memory_mib=memory).bytes_ahead // 2**20 for workers, memory in
             ((1, 16), (1, 64), (2, 64), (1, 1024), (1, 8192))]  # fmt: skip
    assert ahead == [1, 4, 2, 32, 32]
