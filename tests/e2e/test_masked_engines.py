"""A study with secure aggregation and noise in shares gives the same model in every engine, bit for bit."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from tests.e2e.test_engines import coordinate
from tests.masked_study import SITES, Lossy, agents, folders, masked_manifest, run
from tests.small_study import private

pytestmark = pytest.mark.e2e


def _study(folder: Path) -> StudyManifest:
    return masked_manifest(
        folder,
        privacy=private(epsilon=20.0, steps=4) | {"noise": "distributed"},
        schedule={"rounds": 4, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.5}},
        evaluation={"release": "none"},
    )


def _inline(folder: Path) -> StudyResult:
    study = _study(folder)
    return run(study, folder, Lossy(agents(folder, study)))


def _same(one: StudyResult, other: StudyResult) -> None:
    assert one.parameters.tobytes() == other.parameters.tobytes()
    assert [entry.model_digest for entry in one.rounds] == [entry.model_digest for entry in other.rounds]
    assert other.rounds[-1].contributors == SITES


def test_inline_and_ray_give_the_same_model_bit_for_bit(tmp_path: Path) -> None:
    from experiments.engines.ray import run_with_ray

    study = _study(tmp_path / "ray")
    paths = {site: entry.path for site, entry in folders(tmp_path / "ray", study).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's and Flower's own
        other = run_with_ray(paths, lambda transport: coordinate(study, tmp_path / "ray", transport), num_workers=2)
    _same(_inline(tmp_path / "inline"), other)


@pytest.mark.slow
def test_inline_and_flower_give_the_same_model_bit_for_bit(tmp_path: Path) -> None:
    from experiments.engines.flower import run_with_flower

    study = _study(tmp_path / "flower")
    paths = {site: entry.path for site, entry in folders(tmp_path / "flower", study).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Flower's own
        other = run_with_flower(
            paths,
            lambda transport: coordinate(study, tmp_path / "flower", transport),
            folder=tmp_path / "flower" / "processes",
            deadline_seconds=240.0,
        )
    _same(_inline(tmp_path / "inline"), other)
