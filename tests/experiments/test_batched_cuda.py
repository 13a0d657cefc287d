"""An accelerator gives what the CPU gives, kernel by kernel and study by study.

Every body runs on the CPU, too, so that it is known to be right where nobody has an accelerator; there the CPU is compared with
autograd and with `inline`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from federation.study.manifest import StudyManifest
from site_client.patients import SiteData
from tests.experiments.batched_study import (
    ALGORITHMS,
    CLOSE,
    MODELS,
    OPTIMISERS,
    OUTCOMES,
    SIZES,
    Run,
    batched,
    data_of,
    furthest,
    inline,
    optimised_by,
    study,
)
from tests.federation.models.stacked.test_kernels import SPECS, TASKS, Case, close
from tests.masked_study import SITES as MASKED_SITES
from tests.masked_study import masked_manifest
from tests.masked_study import site_data as masked_data
from tests.small_study import private

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA accelerator")),
]

pytestmark = pytest.mark.parametrize("device", DEVICES)


def _there(manifest: StudyManifest, data: list[SiteData], folder: Path, device: str) -> tuple[Run, Run]:
    """The study on the device, and on the CPU in blocks of another size, within what is promised."""
    there = batched(manifest, data, folder / "there", device=device, num_workers=1)
    here = batched(manifest, data, folder / "here", device="cpu", num_workers=1, memory_mib=0)
    assert furthest(there, here) < CLOSE
    return there, here


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SPECS)
def test_kernels(name: str, task: str, device: str) -> None:
    case = Case(name, task, device=device)
    rows = case.by_record()
    gradients = case.gradients()
    assert close(gradients.squared_norms(), rows.square().sum(dim=2))
    factors = torch.rand(rows.shape[:2], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    total = torch.zeros((rows.shape[0], rows.shape[2]), dtype=torch.float64, device=device)
    gradients.add_weighted(factors.to(device), total)
    assert close(total, (factors.unsqueeze(2) * rows).sum(dim=1))


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("model", MODELS)
def test_studies(model: str, privacy: str, most: int, tmp_path: Path, device: str) -> None:
    manifest = study(model=model, privacy=privacy)
    data = data_of(manifest, most=most)
    there, _ = _there(manifest, data, tmp_path, device)
    assert furthest(there, inline(manifest, data, tmp_path / "inline")) < CLOSE


@pytest.mark.parametrize("algorithm", ["fedprox", "scaffold"])
@pytest.mark.parametrize("task", OUTCOMES)
def test_algorithms_and_tasks(algorithm: str, task: str, tmp_path: Path, device: str) -> None:
    manifest = study(algorithm=ALGORITHMS[algorithm], task=task)
    _there(manifest, data_of(manifest), tmp_path, device)


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("model", ["deep", "mlp"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_optimisers(optimiser: str, model: str, privacy: str, tmp_path: Path, device: str) -> None:
    manifest = study(model=model, privacy=privacy, schedule=optimised_by(optimiser))
    data = data_of(manifest)
    there, _ = _there(manifest, data, tmp_path, device)
    assert furthest(there, inline(manifest, data, tmp_path / "inline")) < CLOSE


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "count"])
def test_evaluation(task: str, tmp_path: Path, device: str) -> None:
    manifest = study(model="deep", task=task)
    data = data_of(manifest, most=2)
    there, _ = _there(manifest, data, tmp_path, device)
    for mine, other in zip(there.result.rounds, inline(manifest, data, tmp_path / "inline").result.rounds, strict=True):
        assert mine.metrics
        assert mine.metrics == pytest.approx(dict(other.metrics), rel=1e-4)
        assert mine.site_metrics.keys() == SIZES.keys()
        for site, figures in mine.site_metrics.items():
            assert figures == pytest.approx(dict(other.site_metrics[site]), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("model", ["linear", "deep", "gelu", "mlp"])
def test_noise_in_shares(model: str, tmp_path: Path, device: str) -> None:
    manifest = masked_manifest(
        tmp_path,
        model=MODELS[model],
        privacy=private(epsilon=20.0, probability=0.5, steps=3) | {"noise": "distributed"},
        schedule={"rounds": 3, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.5}},
        evaluation={"release": "none"},
    )
    assert manifest.noise_share() is not None
    _there(manifest, [masked_data(site) for site in MASKED_SITES], tmp_path, device)
