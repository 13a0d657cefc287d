"""A simulation of the `batched` engine that was stopped or killed goes on, to the same model bit for bit."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.batched.run import run_batched
from experiments.engines.batched.site_states import SiteStates
from experiments.settings import BatchedEngine
from federation.errors import CheckpointError, InternalError
from federation.study.result import RoundResult
from tests.experiments.batched_simulation import ROUNDS, checkpoints_of, simulate
from tests.experiments.batched_study import SEED, data_of, study
from tests.experiments.killed_copies import killed_in_a_copy


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("killed_after", [1, 4, 6])
def test_a_killed_one_goes_on_from_the_last_commit(killed_after: int, privacy: str, tmp_path: Path) -> None:
    def kill(result: RoundResult) -> None:
        if result.round_number == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    whole = simulate(tmp_path / "whole", privacy=privacy)
    assert killed_in_a_copy(lambda: simulate(tmp_path / "cut", privacy=privacy, on_round=kill))
    again = simulate(tmp_path / "cut", privacy=privacy)
    assert again.resumed_from == {1: 0, 4: 3, 6: 6}[killed_after], "rounds are committed together"
    np.testing.assert_array_equal(again.parameters, whole.parameters)
    assert [result.round_number for result in again.rounds] == list(range(1, ROUNDS + 1))


@pytest.mark.parametrize("privacy", ["plain", "private"])
def test_a_stopped_one_goes_on_from_its_last_round(privacy: str, tmp_path: Path) -> None:
    def stop(result: RoundResult) -> None:
        if result.round_number == 4:
            raise KeyboardInterrupt

    whole = simulate(tmp_path / "whole", privacy=privacy)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "cut", privacy=privacy, on_round=stop)
    again = simulate(tmp_path / "cut", privacy=privacy)
    assert again.resumed_from == 4
    np.testing.assert_array_equal(again.parameters, whole.parameters)


def test_several_rounds_are_one_signed_record(tmp_path: Path) -> None:
    simulate(tmp_path)
    records = sorted((tmp_path / "coordinator").glob("round-*.json"))
    assert 1 < len(records) < ROUNDS
    store = checkpoints_of(tmp_path)
    assert store.latest().round_number == len(store.latest().history) == store.committed == ROUNDS
    records[0].unlink()
    with pytest.raises(CheckpointError):
        store.latest()


def test_states_are_written_of_the_round_that_is_committed_and_of_no_other(tmp_path: Path) -> None:
    states = SiteStates(tmp_path, {"north": {"control": np.zeros(2)}})
    for number in (1, 2, 3):
        states.begin_round()
        states.keep("north", {"control": np.full(2, float(number))})
        states.finish_round(number)
    for number in (2, 3):
        states.commit(number)
        read = SiteStates(tmp_path, {"north": {"control": np.zeros(2)}}, resumed_from=number)
        np.testing.assert_array_equal(read.of("north")["control"], np.full(2, float(number)))
    with pytest.raises(InternalError, match="after round 3, got round 2"):
        states.commit(2)


def test_states_of_sites_that_are_not_there_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="sites' states after round 3"):
        SiteStates(tmp_path, {"north": {"control": np.zeros(2)}}, resumed_from=3)


def _coordinating(manifest):
    def coordinate(sites, checkpoints):
        return run_study(
            manifest,
            sites,
            NullTracker(),
            checkpoints=checkpoints,
            clock=itertools.count().__next__,
            on_round=lambda _: None,
        )

    return coordinate


def test_by_its_settings(tmp_path: Path) -> None:
    manifest = study()
    data = data_of(manifest)

    coordinate = _coordinating(manifest)
    results = [
        run_batched(
            manifest,
            list(reversed(data)),
            coordinate,
            engine=BatchedEngine(kind="batched", device="cpu"),
            seed=SEED,
            folder=tmp_path / name,
        )
        for name in ("first", "first", "second")
    ]
    assert [result.resumed_from for result in results] == [0, 4, 0]
    np.testing.assert_array_equal(results[0].parameters, results[1].parameters)
    np.testing.assert_array_equal(results[0].parameters, results[2].parameters)


def test_a_thousand_sites(tmp_path: Path) -> None:
    roster = [{"site": f"site-{n}", "weight": 1.0, "training_patients": 5 + n % 3} for n in range(1000)]
    manifest = type(study()).from_data(
        study(model="linear").model_dump(mode="json") | {"roster": roster, "aggregation": {"quorum": 1000}}
    )
    data = data_of(manifest, sizes={entry["site"]: entry["training_patients"] for entry in roster})

    coordinate = _coordinating(manifest)
    result = run_batched(
        manifest,
        data,
        coordinate,
        engine=BatchedEngine(kind="batched", device="cpu", memory_mib=16),
        seed=SEED,
        folder=tmp_path,
    )
    assert len(result.rounds[-1].contributors) == 1000
    assert result.rounds[-1].metrics["auroc"] > 0.6
