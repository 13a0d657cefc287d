"""Every model with every algorithm, plain and private: `batched` gives what `inline` gives, by the arithmetic it should take.

One record for each patient: only so do private steps of a chain of linear layers take their fast path.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.study.manifest import StudyManifest
from tests.experiments.batched_study import (
    ALGORITHMS,
    CHAINS,
    CLOSE,
    MODELS,
    OPTIMISERS,
    OUTCOMES,
    batched,
    data_of,
    furthest,
    inline,
    optimised_by,
    steps_taken,
    study,
)
from tests.objectives import HAZARDS

LEVELS = ("plain", "private")


def _compare(manifest: StudyManifest, folder: Path, *, most: int = 1, by_chain: bool) -> None:
    """Every round within the promise, and every step of the block by the arithmetic that is named."""
    data = data_of(manifest, most=most)
    with steps_taken() as steps:
        ours = batched(manifest, data, folder, num_workers=1)
    theirs = inline(manifest, data, folder)
    if by_chain:
        assert steps == {"chain": manifest.schedule.rounds * manifest.schedule.local_steps}
    else:
        assert set(steps) == {"kernels"}
    assert furthest(ours, theirs) < CLOSE


@pytest.mark.parametrize("privacy", LEVELS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("model", MODELS)
def test_models_and_algorithms(model: str, algorithm: str, privacy: str, tmp_path: Path) -> None:
    manifest = study(model=model, algorithm=ALGORITHMS[algorithm], privacy=privacy)
    _compare(manifest, tmp_path, by_chain=model in CHAINS)


@pytest.mark.parametrize("privacy", LEVELS)
@pytest.mark.parametrize("task", OUTCOMES)
@pytest.mark.parametrize("model", CHAINS)
def test_chains_and_tasks(model: str, task: str, privacy: str, tmp_path: Path) -> None:
    """A proportional hazard has a layer of its own behind the linear ones: no chain."""
    _compare(study(model=model, task=task, privacy=privacy), tmp_path, by_chain=task != "survival")


@pytest.mark.parametrize("privacy", LEVELS)
@pytest.mark.parametrize("hazard", ["cloglog", "logistic"])
def test_hazards_by_interval_are_a_chain(hazard: str, privacy: str, tmp_path: Path) -> None:
    terms = {"task_terms": HAZARDS[f"by_interval {hazard}"].as_data()}
    proportional = study(model="deep", task="survival", privacy=privacy)
    _compare(StudyManifest.from_data(proportional.model_dump(mode="json") | terms), tmp_path, by_chain=True)


@pytest.mark.parametrize("privacy", LEVELS)
@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_chains_and_optimisers(optimiser: str, algorithm: str, privacy: str, tmp_path: Path) -> None:
    """With an algorithm that corrects gradients at the sites, and one that does not; scaffold wants plain SGD."""
    schedule = optimised_by(optimiser)
    manifest = study(model="deep", algorithm=ALGORITHMS[algorithm], privacy=privacy, schedule=schedule)
    _compare(manifest, tmp_path, by_chain=True)


@pytest.mark.parametrize("privacy", LEVELS)
@pytest.mark.parametrize("model", CHAINS)
def test_private_patients_with_several_records_leave_the_fast_path(model: str, privacy: str, tmp_path: Path) -> None:
    _compare(study(model=model, privacy=privacy), tmp_path, most=3, by_chain=privacy == "plain")


@pytest.mark.parametrize("model", CHAINS)
@pytest.mark.parametrize("algorithm", ["fedadagrad", "fedadam", "fedyogi"])
def test_adaptive_steps_multiply_rounding_by_no_more_than_their_rate_over_tau(
    algorithm: str, model: str, tmp_path: Path
) -> None:
    """With their defaults, 100: one unit in the last place of a site's parameters is then 1.2e-5 of the model's."""
    manifest = study(model=model, algorithm={"kind": algorithm})
    most = manifest.algorithm.server_learning_rate / manifest.algorithm.tau
    assert most == pytest.approx(100)
    data = data_of(manifest)
    away = furthest(batched(manifest, data, tmp_path, num_workers=1), inline(manifest, data, tmp_path))
    units = manifest.schedule.local_steps + 1  # each step rounds once, and what is sent once more
    assert away < units * 2**-23 * most
