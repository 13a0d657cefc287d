"""An interrupted simulation of the `batched` engine goes on from its last commit, to the same model bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.spaced_checkpoints import SpacedCheckpoints
from aggregator.tracking import NullTracker
from experiments.engines.batched.blocks import plan_blocks
from experiments.engines.batched.run import run_batched
from experiments.engines.batched.site_states import SiteStates
from experiments.engines.batched.sites import BatchedSites
from experiments.settings import BatchedEngine
from federation.errors import CheckpointError
from federation.privacy.randomness import seeded_streams
from tests.experiments.batched_study import SEED, data_of, study

SCHEDULE = {"rounds": 7, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}


class _StoppedError(Exception):
    """The process ended."""


def _run(folder: Path, *, privacy: str, stop_after: int | None = None, seconds: float = 3.0):
    manifest = study(algorithm={"kind": "scaffold"}, schedule=SCHEDULE, privacy=privacy)
    data = data_of(manifest)
    done = CheckpointStore(folder / "coordinator", study=manifest.digest).latest()
    sites = BatchedSites(
        manifest,
        data,
        streams={site.site: seeded_streams(SEED, provenance="synthetic") for site in data},
        plan=lambda network: plan_blocks(manifest, network, data),
        folder=folder / "sites",
        resumed_from=0 if done is None else done.round_number,
    )

    def after(result) -> None:
        if result.round_number == stop_after:
            raise _StoppedError

    return run_study(
        manifest,
        sites,
        NullTracker(),
        checkpoints=SpacedCheckpoints(
            folder / "coordinator",
            study=manifest.digest,
            last_round=SCHEDULE["rounds"],
            clock=itertools.count().__next__,
            before_commit=sites.states.commit,
            seconds=seconds,
        ),
        clock=itertools.count().__next__,
        on_round=after,
    )


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("stop_after", [1, 4, 6])
def test_it_goes_on_from_the_last_commit(stop_after: int, privacy: str, tmp_path: Path) -> None:
    whole = _run(tmp_path / "whole", privacy=privacy)
    with pytest.raises(_StoppedError):
        _run(tmp_path / "cut", privacy=privacy, stop_after=stop_after)
    again = _run(tmp_path / "cut", privacy=privacy)
    assert again.resumed_from <= stop_after
    assert (again.resumed_from > 0) == (stop_after > 3), "rounds are committed together"
    np.testing.assert_array_equal(again.parameters, whole.parameters)
    assert [result.round_number for result in again.rounds] == list(range(1, 8))


def test_several_rounds_are_one_signed_record(tmp_path: Path) -> None:
    _run(tmp_path, privacy="plain")
    manifest = study(algorithm={"kind": "scaffold"}, schedule=SCHEDULE)
    records = sorted((tmp_path / "coordinator").glob("round-*.json"))
    assert 1 < len(records) < 7
    store = CheckpointStore(tmp_path / "coordinator", study=manifest.digest)
    assert store.latest().round_number == len(store.latest().history) == 7
    records[0].unlink()
    with pytest.raises(CheckpointError):
        store.latest()


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
