"""Rounds of the `batched` engine are recorded together, and whatever ends a simulation, MLflow gets each committed round once."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from aggregator.mlflow_delivery import deliver
from aggregator.outbox import Outbox
from aggregator.run_records import RunRecord, round_record
from aggregator.tracking import TrackingTarget
from experiments.engines.batched.sites import BatchedSites
from federation.errors import NonFiniteModelError
from federation.study.result import RoundResult
from tests.aggregator.tracked_run import history, runs_of
from tests.experiments.batched_simulation import ROUNDS, checkpoints_of, simulate, tracker_in
from tests.experiments.killed_copies import PLACES, Trap, killed_in_a_copy


def _records(folder: Path) -> list[RunRecord]:
    """Of rounds, in the order of the outbox."""
    events = Outbox(folder / "tracking").pending(TrackingTarget.choose("sqlite", output=folder), limit=1000)
    return [event.record for event in events if event.key.startswith("round:")]


def _committed(folder: Path) -> tuple[RoundResult, ...]:
    state = checkpoints_of(folder).latest()
    return () if state is None else state.history


def _killed(folder: Path, number: int, passed: Path) -> bool:
    """Whether a simulation without a seed was killed at the place with this number."""
    trap = Trap(number, passed)

    def work() -> None:
        tracker = tracker_in(folder)
        trap.set()
        simulate(folder, seeded=False, tracker=tracker, on_round=lambda _: trap.reach("after a round"))

    return killed_in_a_copy(work)


def test_rounds_that_are_committed_together_are_recorded_together(tmp_path: Path) -> None:
    seen = []
    tracker = tracker_in(tmp_path)
    simulate(tmp_path, tracker=tracker, on_round=lambda _: seen.append(len(_records(tmp_path))))
    assert seen == [0, 0, 3, 3, 3, 6, 7]


def test_killed_wherever_something_is_written_each_round_is_recorded_once_and_as_it_is(tmp_path: Path) -> None:
    passed = tmp_path / "passed"
    for number in itertools.count():
        folder = tmp_path / str(number)
        is_killed = _killed(folder, number, passed)
        recorded = _records(folder)
        assert recorded == [round_record(result) for result in _committed(folder)][: len(recorded)]
        if not is_killed:
            break
        again = simulate(folder, seeded=False, tracker=tracker_in(folder))
        assert _records(folder) == [round_record(result) for result in again.rounds]
        assert [record.step for record in _records(folder)] == list(range(1, ROUNDS + 1))
    assert number > 30
    assert set(passed.read_text().splitlines()) == PLACES


class _FailsAfterTraining(BatchedSites):
    """Sites have trained round 5 when something fails."""

    failure: BaseException

    def exact_metrics(self, **given):
        if self._next_round > 5:
            raise self.failure
        return super().exact_metrics(**given)


class _FailsInTraining(BatchedSites):
    """One site has trained round 5 when something fails."""

    failure: BaseException

    def _sent(self, site, row, start):
        if start.round_number == 5 and site is self._sites[1]:
            raise self.failure
        return super()._sent(site, row, start)


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), NonFiniteModelError("too large"), ZeroDivisionError()])
@pytest.mark.parametrize("failing", [_FailsAfterTraining, _FailsInTraining])
def test_what_ends_a_simulation_early_leaves_its_finished_rounds_committed_and_recorded(
    failing: type[BatchedSites], failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "failure", failure, raising=False)
    with pytest.raises(type(failure)):
        simulate(tmp_path / "cut", tracker=tracker_in(tmp_path / "cut"), sites_class=failing)
    kept = _committed(tmp_path / "cut")
    assert [result.round_number for result in kept] == [1, 2, 3, 4]
    assert _records(tmp_path / "cut") == [round_record(result) for result in kept]
    again = simulate(tmp_path / "cut", tracker=tracker_in(tmp_path / "cut"))
    whole = simulate(tmp_path / "whole")
    np.testing.assert_array_equal(again.parameters, whole.parameters)
    assert _records(tmp_path / "cut") == [round_record(result) for result in again.rounds]


def test_a_disk_that_takes_nothing_more_does_not_hide_what_ended_the_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def interrupt(result: RoundResult) -> None:
        if result.round_number == 5:
            monkeypatch.setattr("aggregator.checkpoints.write_durably", full)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, tracker=tracker_in(tmp_path), on_round=interrupt)
    monkeypatch.undo()
    assert len(_committed(tmp_path)) == len(_records(tmp_path)) == 3
    assert simulate(tmp_path, tracker=tracker_in(tmp_path)).resumed_from == 3
    assert len(_records(tmp_path)) == ROUNDS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_each_round_once_when_it_took_some_before_the_kill(tmp_path: Path) -> None:
    target = TrackingTarget.choose("sqlite", output=tmp_path)
    passed = tmp_path / "passed"
    number = 20  # the second commit's outbox; it does not matter much where
    assert _killed(tmp_path, number, passed)
    outbox = Outbox(tmp_path / "tracking")
    before = len(_records(tmp_path))
    assert before == 3
    assert deliver(outbox, target).failure == ""
    result = simulate(tmp_path, seeded=False, tracker=tracker_in(tmp_path))
    assert deliver(outbox, target).failure == ""
    client, runs = runs_of(target, outbox)
    found = history(client, runs[""], "round/update_norm")
    assert found == [(entry.round_number, entry.update_norm) for entry in result.rounds]
