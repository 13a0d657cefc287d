"""Several images of a patient count as one patient: their gradients are added first and clipped together, for both networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from federation.data.arrays import Image, Mask
from federation.models.build import build_model
from federation.models.losses import record_losses
from federation.models.spec import CnnSpec, UnetSpec
from federation.privacy.clipping import GRID_BITS
from federation.privacy.promise import MechanismSpec
from site_client.arrays.store import ArrayWriter
from site_client.arrays.stored import StoredArray
from site_client.arrays.streamed import ArrayBlock, StreamedRows
from site_client.patient_gradients import patient_gradients
from site_client.patients import PatientDataset

SIDE, PATIENTS = 12, 6
COUNTS = np.array([1, 5, 2, 40, 3, 1])
"""Images of each patient: one has more than a pass holds."""
SCAN = Image(
    kind="image", name="scan", modality="none", height=SIDE, width=SIDE, minimum=-4, maximum=4, unit="dimensionless"
)
LESION = Mask(kind="mask", name="lesion", height=SIDE, width=SIDE)


def rows_of(folder: Path, variable: Image | Mask, values: np.ndarray) -> StreamedRows:
    path = folder / f"{variable.name}.npy"
    writer = ArrayWriter(path, shape=variable.shape, dtype="float32")
    for one in values:
        writer.append(one.astype(np.float32))
    stored = StoredArray(path, variable.shape, "float32", len(values), step=1.0, start=0.0, sha256=writer.close())
    row = np.arange(len(values), dtype=np.int64)
    return StreamedRows([ArrayBlock(variable, (stored.checked(site="a"),), np.zeros_like(row), row)])


def dataset(folder: Path, task: str) -> PatientDataset:
    generator = np.random.default_rng(2)
    records = int(COUNTS.sum())
    images = generator.normal(size=(records, 1, SIDE, SIDE))
    outcomes = generator.integers(0, 2, records).astype(np.float32)
    return PatientDataset(
        features=rows_of(folder, SCAN, images),
        outcomes=rows_of(folder, LESION, images > 1) if task == "segmentation" else outcomes,
        patient_index=np.repeat(np.arange(PATIENTS), COUNTS).astype(np.int64),
        feature_names=tuple(f"scan[{place}]" for place in range(SIDE * SIDE)),
    )


def network(task: str) -> torch.nn.Module:
    size = SIDE * SIDE
    if task == "segmentation":
        unet = UnetSpec(kind="unet", image_shape=(1, SIDE, SIDE), channels=(4, 8))
        return build_model(unet, task="segmentation", num_features=size, num_outputs=size, private=True)
    cnn = CnnSpec(kind="cnn", image_shape=(1, SIDE, SIDE), channels=(4,), hidden=8, normalisation="group")
    return build_model(cnn, task="binary", num_features=size, num_outputs=1, private=True)


def clipped_sum(data: PatientDataset, task: str, patients: np.ndarray, norm: float) -> np.ndarray:
    mechanism = MechanismSpec(
        clipping_norm=norm, noise_multiplier=1.0, sampling_numerator=2**52, divisor=3.0, steps_per_round=1, rounds=1
    )
    with patient_gradients(network(task), data, task=task, mechanism=mechanism) as gradients:
        return gradients.clipped_sum(patients, clipping_norm=norm) * norm / 2**GRID_BITS


def gradient_of(data: PatientDataset, task: str, patient: int) -> np.ndarray:
    """Sum of the gradients of a patient's images, by autograd, one image at a time."""
    model = network(task)
    total = None
    for row in np.flatnonzero(data.patient_index == patient):
        features = torch.from_numpy(data.features[row : row + 1])
        outcome = torch.from_numpy(data.outcomes[row : row + 1])
        loss = record_losses(task, model(features), outcome).sum()
        parts = torch.autograd.grad(loss, list(model.parameters()))
        own = torch.cat([part.reshape(-1) for part in parts]).double().numpy()
        total = own if total is None else total + own
    return total


@pytest.mark.parametrize("task", ["binary", "segmentation"])
@pytest.mark.parametrize("norm", [0.05, 1e4])
def test_a_patients_images_are_added_and_then_clipped(tmp_path: Path, task: str, norm: float) -> None:
    data = dataset(tmp_path, task)
    found = clipped_sum(data, task, np.arange(PATIENTS), norm)
    whole = [gradient_of(data, task, patient) for patient in range(PATIENTS)]
    expected = sum(own * min(1.0, norm / np.linalg.norm(own)) for own in whole)
    # Every patient's sum is cut to whole grid steps; the rest is float32.
    steps = PATIENTS * norm / 2**GRID_BITS
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=steps + 1e-4 * min(norm, 1.0))
    if norm < 1:
        assert all(np.linalg.norm(own) > norm for own in whole)
        for patient in range(PATIENTS):
            own = clipped_sum(data, task, np.array([patient]), norm)
            assert np.linalg.norm(own) <= norm * (1 + 1e-6), (patient, int(COUNTS[patient]))


@pytest.mark.parametrize("task", ["binary", "segmentation"])
def test_forty_copies_of_an_image_move_a_step_no_further_than_one(tmp_path: Path, task: str) -> None:
    data = dataset(tmp_path, task)
    same = replace(data, patient_index=np.repeat(np.arange(PATIENTS), COUNTS).astype(np.int64))
    one, many = (np.linalg.norm(clipped_sum(same, task, np.array([patient]), 0.05)) for patient in (0, 3))
    assert many <= one * (1 + 1e-5)
