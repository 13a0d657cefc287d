"""A race compares ways that did the same work, and leaves out by name those that did not or could not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.benchmarks.benches import Effort
from experiments.benchmarks.races import RACES, WAYS, Race, cannot, run_race
from experiments.benchmarks.records import Skipped
from experiments.benchmarks.ways.given import RECORDS_FILE, Finished, parameters_file
from experiments.benchmarks.ways.ours import BEST_ENGINE
from experiments.benchmarks.ways.running import WayRun
from experiments.benchmarks.workload import Workload
from federation.errors import InternalError

_OURS = BEST_ENGINE
_WORK = Workload(num_sites=2, num_patients=12, num_features=3, batch_size=4, rounds=2)
_RACE = Race("race", "some work", _WORK, ("bare", "pfl", "flower"))


class _Runner:
    """Ways that take as long and learn as much as they are told; the first round always takes a second longer."""

    def __init__(self, seconds: Mapping[str, float], losses: Mapping[str, float] | None = None) -> None:
        self.calls: list[str] = []
        self.seconds = dict(seconds)
        self.losses = dict(losses or {})

    def __call__(self, way: str, folder: Path, threads: int) -> WayRun | Skipped:
        self.calls.append(way)
        if way not in self.seconds:
            return Skipped(name=way, reason="is not there")
        start = load_file(folder / RECORDS_FILE)["initial"]
        moved = start + np.float32(1.0 if way == "bare" else 1.001)
        save_file({"parameters": moved}, parameters_file(folder, way))
        seconds = self.seconds[way]
        finished = Finished(
            round_seconds=(seconds, seconds, 50 * seconds),
            loss=self.losses.get(way, 0.5),
            accuracy=0.8,
            threads=threads,
            workers=2,
            peak_mib=1.0,
        )
        return WayRun(finished=finished, process_seconds=60.0)


def test_ways_take_turns_and_the_median_round_counts() -> None:
    runner = _Runner({_OURS: 1.0, "bare": 4.0, "pfl": 5.0, "flower": 10.0})
    found = run_race(_RACE, Effort(repetitions=2), runner)
    assert runner.calls == [_OURS, "bare", "pfl", "flower"] * 2
    assert {item.name: (item.ratio, item.ours_seconds) for item in found.measurements} == {
        "race_bare": (0.25, (1.0, 1.0)),
        "race_pfl": (0.2, (1.0, 1.0)),
        "race_flower": (0.1, (1.0, 1.0)),
    }
    assert [item.way for item in found.agreements] == [_OURS, "bare", "pfl", "flower"]
    distances = {item.way: item.distance for item in found.agreements}
    assert distances["bare"] == 0.0
    assert distances["flower"] == pytest.approx(0.001, rel=1e-2)


@pytest.mark.parametrize(
    ("turn_seconds", "turns"), [(1.0, 3), (100.0, 3), (101.0, 2), (150.0, 2), (151.0, 1), (5000.0, 1)]
)
def test_no_turn_begins_that_would_end_after_five_minutes(turn_seconds: float, turns: int) -> None:
    runner = _Runner({_OURS: 1.0, "bare": 4.0, "pfl": 5.0, "flower": 10.0})
    found = run_race(_RACE, Effort(), runner, clock=lambda: len(runner.calls) / 4 * turn_seconds)
    assert runner.calls == [_OURS, "bare", "pfl", "flower"] * turns
    assert all(len(item.ours_seconds) == turns for item in found.measurements)


def test_a_way_that_is_not_there_is_asked_once_and_named() -> None:
    runner = _Runner({_OURS: 1.0, "bare": 4.0, "flower": 10.0})
    found = run_race(_RACE, Effort(repetitions=3), runner)
    assert runner.calls.count("pfl") == 1
    assert found.skipped == [Skipped(name="race_pfl", reason="is not there")]
    assert [item.name for item in found.measurements] == ["race_bare", "race_flower"]


def test_a_way_that_does_other_work_is_left_out() -> None:
    runner = _Runner({_OURS: 1.0, "bare": 4.0, "pfl": 0.01, "flower": 10.0}, {"pfl": 0.6})
    found = run_race(_RACE, Effort(repetitions=2), runner)
    assert [item.name for item in found.measurements] == ["race_bare", "race_flower"]
    assert "does other work" in found.skipped[0].reason
    assert runner.calls.count("pfl") == 1


def test_private_ways_may_differ_by_their_noise_and_no_more() -> None:
    race = Race("race", "w", _WORK.model_copy(update={"private": True}), ("opacus", "flower"))
    seconds = {_OURS: 1.0, "opacus": 4.0, "flower": 9.0}
    found = run_race(race, Effort(quick=True), _Runner(seconds, {"flower": 0.51}))
    assert [item.name for item in found.measurements] == ["race_opacus", "race_flower"]
    assert all(item.distance is None for item in found.agreements)
    found = run_race(race, Effort(quick=True), _Runner(seconds, {"flower": 0.6}))
    assert [item.name for item in found.measurements] == ["race_opacus"]


@pytest.mark.parametrize(
    ("runner", "words"),
    [
        (_Runner({"bare": 1.0}), "is not there"),
        (_Runner({_OURS: 1.0, "bare": 1.0}, {_OURS: 0.7}), "does other work"),
    ],
)
def test_our_own_failure_is_no_footnote(runner: _Runner, words: str) -> None:
    with pytest.raises(InternalError, match=words):
        run_race(_RACE, Effort(quick=True), runner)


def test_ours_is_not_raced_against_itself() -> None:
    race = Race("race", "w", _WORK, ("bare", _OURS))
    found = run_race(race, Effort(quick=True), _Runner({_OURS: 1.0, "bare": 2.0}))
    assert [item.name for item in found.measurements] == ["race_bare"]


def test_pfl_is_skipped_by_name_where_it_has_no_privacy_for_records() -> None:
    (race,) = (item for item in RACES if item.workload.private and "pfl" in item.others)
    small = Race(race.name, race.work, _WORK.model_copy(update={"private": True}), race.others)
    found = run_race(small, Effort(quick=True), _Runner({_OURS: 1.0, "opacus": 1.0, "flower": 1.0}))
    assert found.skipped == [Skipped(name=f"{race.name}_pfl", reason=cannot(race, "pfl") or "")]
    assert "DP-SGD" in found.skipped[0].reason
    assert [(item.name, way) for item in RACES for way in item.others if cannot(item, way)] == [(race.name, "pfl")]


def test_every_way_of_a_race_has_words_and_needs_two_rounds() -> None:
    for race in RACES:
        assert set(race.others) <= set(WAYS)
        assert race.workload.rounds > 1  # the first round does not count
