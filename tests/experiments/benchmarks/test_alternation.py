"""Measurements are taken in turns, per unit, without the warm-up."""

from __future__ import annotations

import pytest

from experiments.benchmarks.alternation import Comparison, Measurement, measure
from federation.errors import InvalidInputError


def test_the_two_ways_take_turns_and_the_first_pair_does_not_count() -> None:
    calls: list[str] = []
    now = iter([0.0, 100.0, 100.0, 150.0, 150.0, 158.0, 158.0, 160.0, 160.0, 166.0, 166.0, 168.0])
    comparison = Comparison(
        name="c", question="q", ours=lambda: calls.append("A"), floor=lambda: calls.append("B"), units=2
    )
    measured = measure(comparison, repetitions=2, clock=lambda: next(now))
    assert calls == ["A", "B", "A", "B", "A", "B"]
    assert measured.ours_seconds == (4.0, 3.0)
    assert measured.floor_seconds == (1.0, 1.0)
    assert (measured.ours, measured.floor, measured.ratio, measured.ratio_range) == (3.5, 1.0, 3.5, (3.0, 4.0))


def test_work_may_time_itself() -> None:
    comparison = Comparison(name="c", question="q", ours=lambda: 6.0, floor=lambda: 3.0, units=3)
    measured = measure(comparison, repetitions=1)
    assert (measured.ours_seconds, measured.floor_seconds) == ((2.0,), (1.0,))


def test_the_ratio_is_of_neighbours_so_a_slow_phase_cancels() -> None:
    measured = Measurement(
        name="c", question="q", unit="u", ours_seconds=(2.0, 20.0, 2.0), floor_seconds=(1.0, 10.0, 1.0)
    )
    assert measured.ratio == 2.0
    assert measured.as_data()["ratio_range"] == [2.0, 2.0]


@pytest.mark.parametrize("repetitions", [0, -1])
def test_no_repetitions_are_refused(repetitions: int) -> None:
    comparison = Comparison(name="c", question="q", ours=lambda: 1.0, floor=lambda: 1.0)
    with pytest.raises(InvalidInputError, match="repetitions"):
        measure(comparison, repetitions=repetitions)
