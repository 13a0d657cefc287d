"""Measurements are taken in turns, per unit, without the warm-up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from experiments.benchmarks.alternation import Beside, Comparison, measure, measure_all, of_both, take_turns
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


def test_a_floor_and_a_peer_are_in_the_same_turns_as_ours() -> None:
    calls: list[str] = []

    def way(name: str, seconds: float) -> Callable[[], float]:
        def work() -> float:
            calls.append(name)
            return seconds

        return work

    peer = Beside(name="c_peer", question="ours / peer", work=way("peer", 12.0))
    comparison = Comparison(
        name="c",
        question="ours / floor",
        ours=way("ours", 6.0),
        floor=way("floor", 2.0),
        units=2,
        unit="round",
        beside=(peer,),
    )
    found = measure_all(comparison, repetitions=2)
    assert calls == ["ours", "floor", "peer"] * 3
    assert [(item.name, item.question, item.unit, item.ratio) for item in found] == [
        ("c", "ours / floor", "round", 3.0),
        ("c_peer", "ours / peer", "round", 0.5),
    ]
    assert [item.ours_seconds for item in found] == [(3.0, 3.0)] * 2
    assert measure(comparison, repetitions=2) == found[0]


def test_more_than_two_ways_take_turns_in_their_order() -> None:
    calls: list[str] = []
    ways = {name: (lambda name=name: calls.append(name)) for name in ("one", "two", "three")}
    taken = take_turns(ways, repetitions=1)
    assert calls == ["one", "two", "three"] * 2
    assert {name: len(seconds) for name, seconds in taken.items()} == dict.fromkeys(ways, 1)


def test_a_slow_way_is_in_the_first_turns_only() -> None:
    calls: list[str] = []

    def way(name: str, seconds: float) -> Callable[[], float]:
        def work() -> float:
            calls.append(name)
            return seconds + len(calls) / 1000

        return work

    ways = {"quick": way("quick", 2.0), "slow": way("slow", 20.0)}
    taken = take_turns(ways, repetitions=5, units=10, slow_seconds=5.0)
    assert calls == ["quick", "slow"] * 4 + ["quick"] * 2
    assert of_both(taken, "quick", "slow") == (taken["quick"][:3], taken["slow"])
    assert of_both(taken, "slow", "quick") == (taken["slow"], taken["quick"][:3])
    assert taken["quick"] == pytest.approx([0.2003, 0.2005, 0.2007, 0.2009, 0.201])


def test_no_way_is_slow_where_nobody_says_so() -> None:
    taken = take_turns({"slow": lambda: 1e9}, repetitions=5)
    assert len(taken["slow"]) == 5


@pytest.mark.parametrize("repetitions", [0, -1])
def test_no_repetitions_are_refused(repetitions: int) -> None:
    comparison = Comparison(name="c", question="q", ours=lambda: 1.0, floor=lambda: 1.0)
    with pytest.raises(InvalidInputError, match="repetitions"):
        measure(comparison, repetitions=repetitions)
