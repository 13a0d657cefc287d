"""An accelerator gives what the CPU gives, kernel by kernel and study by study."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.experiments.batched_study import MODELS, OUTCOMES, batched, data_of, furthest, inline, study
from tests.federation.models.stacked.test_kernels import SPECS, TASKS, Case, close

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA accelerator")

ALGORITHMS = [{"kind": "fedprox", "mu": 0.3}, {"kind": "scaffold"}]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SPECS)
def test_kernels(name: str, task: str) -> None:
    case = Case(name, task, device="cuda")
    rows = case.by_record()
    gradients = case.gradients()
    assert close(gradients.squared_norms(), rows.square().sum(dim=2))
    factors = torch.rand(rows.shape[:2], dtype=torch.float64)
    total = torch.zeros((rows.shape[0], rows.shape[2]), dtype=torch.float64, device="cuda")
    gradients.add_weighted(factors.cuda(), total)
    assert close(total, (factors.unsqueeze(2) * rows).sum(dim=1))


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("model", MODELS)
def test_studies(model: str, privacy: str, tmp_path: Path) -> None:
    manifest = study(model=model, privacy=privacy)
    data = data_of(manifest, most=2)
    there = batched(manifest, data, tmp_path / "cuda", device="cuda")
    assert furthest(there, batched(manifest, data, tmp_path / "cpu", device="cpu")) < 1e-5
    assert furthest(there, inline(manifest, data, tmp_path / "inline")) < 1e-5


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm["kind"])
@pytest.mark.parametrize("task", OUTCOMES)
def test_algorithms_and_tasks(algorithm: dict, task: str, tmp_path: Path) -> None:
    manifest = study(algorithm=algorithm, task=task)
    data = data_of(manifest)
    there = batched(manifest, data, tmp_path / "cuda", device="cuda")
    assert furthest(there, batched(manifest, data, tmp_path / "cpu", device="cpu")) < 1e-5
