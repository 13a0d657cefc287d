"""Times by phase add up, and each phase has its own time only."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from experiments.phases import COLLECTIONS, PHASES, PhaseClock, PhaseTimes, seconds_since_start


def clock_of(*moments: float) -> PhaseClock:
    seconds: Iterator[float] = iter(moments)
    return PhaseClock(clock=lambda: next(seconds), processor=lambda: 0.0)


def test_an_inner_phase_is_taken_out_of_the_one_around_it() -> None:
    phases = clock_of(0.0, 1.0, 3.0, 7.0, 8.0, 9.0)
    with phases.phase("report"), phases.phase("imports"):
        pass
    found = phases.times().seconds
    assert (found["report"], found["imports"]) == (2.0 + 1.0, 4.0)
    assert sum(found.values()) == 7.0


def test_what_happens_between_phases_belongs_to_none() -> None:
    phases = clock_of(0.0, 1.0, 2.0, 10.0, 11.0, 20.0)
    with phases.phase("settings"):
        pass
    with phases.phase("training"):
        pass
    assert {name: taken for name, taken in phases.times().seconds.items() if taken} == {
        "settings": 1.0,
        "training": 1.0,
    }


def test_a_phase_that_fails_is_closed() -> None:
    phases = clock_of(0.0, 1.0, 3.0, 9.0)

    def fails() -> None:
        with phases.phase("preparation"):
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert phases.times().seconds["preparation"] == 2.0


def test_imports_look_for_rubbish_seldom_and_nothing_else_does() -> None:
    phases, before = clock_of(0.0, 1.0, 3.0, 9.0), gc.get_threshold()

    def fails() -> None:
        with phases.importing():
            assert gc.get_threshold() == COLLECTIONS
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert gc.get_threshold() == before
    assert phases.times().seconds["imports"] == 2.0


@pytest.mark.parametrize("before", [0.0, 1.0])
def test_what_is_imported_by_a_command_is_not_looked_through_again(before: float) -> None:
    phases, frozen = PhaseClock(before=before), gc.get_freeze_count()
    try:
        with phases.importing():
            assert gc.get_freeze_count() == frozen
        assert (gc.get_freeze_count() > frozen) == (before > 0)
    finally:
        gc.unfreeze()


def test_what_another_process_does_is_nobody_s_waiting() -> None:
    phases = clock_of(0.0, 6.0)
    phases.note_beside("preparation", 3.0)
    phases.note_beside("preparation", 1.0)
    found = phases.times()
    assert found.beside == {"preparation": 4.0}
    assert sum(found.seconds.values()) == 0.0


def test_overhead_is_outside_imports_and_every_training() -> None:
    seconds = dict.fromkeys(PHASES, 1.0)
    found = PhaseTimes(seconds=seconds, processor_seconds=seconds)
    assert found.overhead == len(PHASES) - 3
    assert PhaseTimes.from_json(found.model_dump_json()) == found


def test_in_words_names_what_is_worth_a_word() -> None:
    seconds = {"imports": 2.04, "training": 0.5, "tracking": 0.01}
    assert PhaseTimes(seconds=seconds, processor_seconds={}).in_words() == "2.5 s: imports 2.0, training 0.5"


def test_time_before_the_first_phase_counts_as_imports() -> None:
    assert PhaseClock(before=1.5).times().seconds["imports"] == 1.5


def test_this_process_started_a_while_ago() -> None:
    assert 0.0 <= seconds_since_start() < 86_400
