"""The fold's floors move the bytes they claim to, and its memory is measured so that a hoarding fold would show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from aggregator.folding import WeightedFold
from aggregator.running_sums import FloatVector
from experiments.benchmarks import folds
from experiments.benchmarks.benches import Effort
from experiments.benchmarks.fold_parts import PARTS, parts_of_a_fold
from experiments.benchmarks.folds import (
    UPDATES,
    bytes_of_a_fold,
    flower_aggregate,
    fold_benches,
    fold_memory,
    in_place,
    our_fold,
    updates_of_sites,
)

LARGE = 600_000
"""Numbers of an update that waits for others."""


def test_every_way_of_folding_runs() -> None:
    updates = [np.ones(1000, dtype=np.float32) for _ in range(5)]
    for work in (
        our_fold(updates, threads=1),
        our_fold(updates, threads=None),
        bytes_of_a_fold(updates),
        bytes_of_a_fold(updates, sharing=4),
        in_place(updates),
        *parts_of_a_fold(updates).values(),
    ):
        assert work() is None
    assert flower_aggregate(updates)() is None


def test_every_part_has_words() -> None:
    assert list(parts_of_a_fold([np.ones(10, dtype=np.float32)])) == list(PARTS)
    assert all("{}" in words for words in PARTS.values())


def test_no_two_sites_share_an_update() -> None:
    updates = updates_of_sites(100)
    assert len(updates) == UPDATES
    assert len({update.tobytes() for update in updates}) == UPDATES


def test_the_fold_is_measured_against_all_its_floors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "_QUICK_SIZE", 2**16)
    found = fold_benches()[0].run(Effort(quick=True))
    assert [item.name for item in found.measurements] == [
        "fold_memory_speed", "fold_least_memory_speed", "fold_cores_memory_speed", "fold_numpy", "fold_flower",
        "fold_flower_one_thread", *(f"fold_part_{part}" for part in PARTS),
    ]  # fmt: skip


def test_memory_does_not_grow_with_the_sites() -> None:
    few, many, growth = fold_memory(size=LARGE)
    assert few.value > (8 + 4 * 8) * LARGE, "the sum, and the updates that are added together"
    assert growth.value == pytest.approx(many.value / few.value, abs=1e-3)
    assert growth.value < 1.05


def test_a_fold_that_keeps_the_updates_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hoarding(WeightedFold):
        def add(self, site: str, contribution: Mapping[str, FloatVector], *, weight: float) -> None:
            self.sums[site] = contribution["update"].astype(np.float64)
            self.total_weight += weight

    monkeypatch.setattr(folds, "WeightedFold", Hoarding)
    assert fold_memory(size=2000)[2].value > 5
