"""A site's kernels against Opacus for every layer that they cover and every loss: the same clipped sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from federation.models.build import build_model
from federation.models.parameters import flatten, load
from federation.models.stacked.network import stacked_network
from federation.privacy.clipping import FloatArray
from federation.privacy.summation import room_for_rounding
from site_client.dp_step import PatientGradients
from site_client.kernel_step import KernelGradients
from site_client.patients import PatientDataset
from tests.federation.models.stacked.test_kernels import FEATURES, SPECS, TASKS
from tests.objectives import HAZARDS

PASS = 32
LENGTHS = {"single records": [1] * 40, "several, and more than a pass": [1, 2, 5, 1, 16, 31, 33, 1]}
NORMS = {"clipped": 0.05, "hardly clipped": 50.0}


def _data(task: str, lengths: list[int]) -> PatientDataset:
    generator, (_, outputs) = np.random.default_rng(3), TASKS[task]
    index = np.repeat(np.arange(len(lengths)), lengths)
    features = 0.5 * generator.normal(size=(len(index), FEATURES))
    outcomes = generator.integers(0, max(2, outputs), len(index)).astype(np.float64)
    if task in HAZARDS:  # a time below, between and beyond the edges; some an event
        outcomes = generator.choice([-1.0, 1.0], len(index)) * generator.uniform(1.0, 5.0, len(index))
    names = tuple(f"x{place}" for place in range(FEATURES))
    return PatientDataset(features.astype(np.float32), outcomes.astype(np.float32), index, names)


def _sums(name: str, task: str, data: PatientDataset, *, norm: float) -> tuple[FloatArray, FloatArray]:
    """Of all patients, by the kernels and by Opacus, which is told to clip as short."""
    objective, outputs = TASKS[task]
    model = build_model(SPECS[name], task=objective, num_features=FEATURES, num_outputs=outputs, private=True).train()
    start = flatten(model)
    load(model, (start + 0.1 * np.random.default_rng(4).normal(size=start.size)).astype(np.float32))
    network, theta = stacked_network(model), torch.from_numpy(flatten(model)).unsqueeze(0)
    assert network is not None
    everybody = np.arange(data.num_patients)
    kernels = KernelGradients(model, network, theta, data, task=objective, pass_records=PASS)
    ours = kernels.clipped_sum(everybody, clipping_norm=norm)
    with PatientGradients(model, data, task=objective, room=room_for_rounding(start.size)) as gradients:
        return ours, gradients.clipped_sum(everybody, clipping_norm=norm)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SPECS)
def test_clipped_sums_are_those_of_opacus(name: str, task: str, lengths: str, norm: str) -> None:
    data = _data(task, LENGTHS[lengths])
    ours, theirs = _sums(name, task, data, norm=NORMS[norm])
    assert np.array_equal(ours, np.rint(ours))
    # Opacus' sum is cut once for every patient, by up to one step in every coordinate; the rest is float32's last bits.
    cut = data.num_patients * np.sqrt(ours.size)
    assert np.linalg.norm(ours - theirs) <= cut + 3e-6 * np.linalg.norm(theirs)
    assert np.linalg.norm(theirs) > 1000 * cut, "or the cutting hides everything"
