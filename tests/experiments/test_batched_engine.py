"""The `batched` engine gives what `inline` gives: per model, algorithm, task and privacy, within 1e-5 in every round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.engines.batched import private
from experiments.engines.batched.coverage import reason_against_batching
from federation.errors import ConfigurationError, QuorumError
from federation.privacy.keystream import KeyStream
from federation.privacy.noise import grid_noise
from federation.privacy.randomness import seeded_streams
from tests.experiments.batched_study import (
    ALGORITHMS,
    CLOSE,
    MODELS,
    OPTIMISERS,
    OUTCOMES,
    SIZES,
    Run,
    batched,
    batched_sites,
    data_of,
    furthest,
    inline,
    optimised_by,
    study,
)
from tests.masked_study import masked_manifest
from tests.small_study import private as private_promise


def _both(manifest, tmp_path: Path, *, most: int = 1, **plan) -> tuple[Run, Run]:
    data = data_of(manifest, most=most)
    return batched(manifest, data, tmp_path, **plan), inline(manifest, data, tmp_path)


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("model", MODELS)
def test_models(model: str, privacy: str, tmp_path: Path) -> None:
    ours, theirs = _both(study(model=model, privacy=privacy), tmp_path, most=3)
    assert furthest(ours, theirs) < CLOSE


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms(algorithm: str, privacy: str, tmp_path: Path) -> None:
    ours, theirs = _both(study(algorithm=ALGORITHMS[algorithm], privacy=privacy), tmp_path)
    assert furthest(ours, theirs) < CLOSE


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("task", OUTCOMES)
def test_tasks(task: str, privacy: str, tmp_path: Path) -> None:
    ours, theirs = _both(study(task=task, privacy=privacy), tmp_path, most=2)
    assert furthest(ours, theirs) < CLOSE


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_optimisers(optimiser: str, tmp_path: Path) -> None:
    ours, theirs = _both(study(schedule=optimised_by(optimiser)), tmp_path)
    assert furthest(ours, theirs) < CLOSE


def test_epochs_go_on_from_round_to_round_where_batches_and_sites_do_not_divide(tmp_path: Path) -> None:
    schedule = {"rounds": 4, "local_steps": 7, "batch_size": 13, "optimiser": {"learning_rate": 0.2}}
    ours, theirs = _both(study(schedule=schedule), tmp_path, most=4)
    assert furthest(ours, theirs) < CLOSE


def test_blocks_and_workers_change_memory_and_time_only(tmp_path: Path) -> None:
    manifest = study(model="cnn", privacy="private")
    data = data_of(manifest)
    runs = [
        batched(manifest, data, tmp_path / str(number), **plan)
        for number, plan in enumerate([{"num_workers": 1}, {"num_workers": 3}, {"memory_mib": 16}])
    ]
    assert max(furthest(runs[0], run) for run in runs[1:]) < CLOSE


def test_exact_evaluation_is_that_of_the_agents(tmp_path: Path) -> None:
    ours, theirs = _both(study(), tmp_path, most=2)
    for mine, other in zip(ours.result.rounds, theirs.result.rounds, strict=True):
        assert mine.metrics == pytest.approx(dict(other.metrics), rel=1e-4)
        assert mine.site_metrics.keys() == other.site_metrics.keys() == SIZES.keys()
        assert mine.contributors == other.contributors
        assert mine.epsilon_spent == other.epsilon_spent


def test_noise_is_that_of_a_site_step_after_step() -> None:
    manifest = study(privacy="private")
    mechanisms = [manifest.mechanism(site) for site in SIZES]
    keys = [seeded_streams(seed, provenance="synthetic").stream("noise") for seed in range(3)]
    again = [seeded_streams(seed, provenance="synthetic").stream("noise") for seed in range(3)]
    found = private.step_noise([KeyStream.of(key) for key in keys], size=9, num_steps=4, mechanisms=mechanisms)
    for site, (key, mechanism) in enumerate(zip(again, mechanisms, strict=True)):
        stream = KeyStream.of(key)
        for step in range(4):
            np.testing.assert_array_equal(found[site, step], grid_noise(9, mechanism=mechanism, generator=stream))


def test_patients_whose_gradients_cancel_are_clipped_as_at_a_site(tmp_path: Path) -> None:
    # Equal features and opposite outcomes: each record's gradient is long, their sum is all but zero.
    manifest = study(model="linear", privacy="private")
    data = data_of(manifest, most=1)
    north = data[0]
    rows = 40
    features = np.concatenate([north.training.features, np.full((rows, 16), 50.0, np.float32)])
    outcomes = np.concatenate([north.training.outcomes, np.tile([0.0, 1.0], rows // 2).astype(np.float32)])
    index = np.concatenate([north.training.patient_index, np.full(rows, 41)])
    odd = replace(north.training, features=features, outcomes=outcomes, patient_index=index)
    data[0] = replace(north, training=odd)
    ours, theirs = batched(manifest, data, tmp_path), inline(manifest, data, tmp_path)
    assert furthest(ours, theirs) < CLOSE


def test_a_site_without_patients_releases_noise_in_a_private_study_and_stops_a_plain_one(tmp_path: Path) -> None:
    for privacy in ("private", "plain"):
        manifest = study(privacy=privacy)
        data = data_of(manifest)
        empty = data[1].training.patients(np.zeros(0, dtype=np.int64))
        data[1] = replace(data[1], training=empty)
        if privacy == "private":
            assert furthest(batched(manifest, data, tmp_path / "a"), inline(manifest, data, tmp_path / "b")) < CLOSE
        else:
            for engine in (batched, inline):
                with pytest.raises(QuorumError, match="CohortTooSmallError"):
                    engine(manifest, data, tmp_path / engine.__name__)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": {"kind": "mlp", "hidden": [4], "normalisation": "batch"}}, "layer"),
        ({"cohort": {"provenance": "patients"}}, "real patients"),
    ],
)
def test_what_is_not_batched_says_why(changes: dict, why: str) -> None:
    data = study().model_dump(mode="json") | changes
    if changes.get("cohort"):
        data |= {"privacy": private_promise(), "evaluation": {"release": "none"}}
    assert why in (reason_against_batching(type(study()).from_data(data)) or "")
    assert reason_against_batching(study()) is None


def test_secure_aggregation_is_not_batched(tmp_path: Path) -> None:
    assert "message by message" in (reason_against_batching(masked_manifest(tmp_path)) or "")


def test_an_accelerator_that_is_not_there_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is an accelerator")
    with pytest.raises(ConfigurationError, match="accelerator"):
        batched_sites(study(), data_of(study()), device="cuda")
