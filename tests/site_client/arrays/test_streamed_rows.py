"""Streamed features are those in memory, for whoever trains and evaluates on them; memory does not grow with the records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.baselines import pooled_patients
from federation.data.arrays import Image
from federation.models.build import build_model
from federation.models.parameters import flatten
from federation.models.spec import CnnSpec
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import seeded_streams
from federation.study.schedule import Schedule
from site_client.arrays.store import ArrayWriter
from site_client.arrays.stored import StoredArray
from site_client.arrays.streamed import ArrayBlock, DenseBlock, StreamedRows
from site_client.evaluation import evaluate
from site_client.patients import PatientDataset
from site_client.training import train_locally
from tests.peak_memory import grown_mib, peak_mib

SCAN = Image(
    kind="image", name="scan", modality="none", channels=1, height=16, width=16, minimum=0, maximum=200,
    unit="dimensionless",
)  # fmt: skip
SCHEDULE = Schedule.from_data({"rounds": 1, "local_steps": 3, "batch_size": 8, "optimiser": {"learning_rate": 0.1}})
STREAMS = seeded_streams(7, provenance="synthetic")


def stored(folder: Path, records: int, *, variable: Image = SCAN, seed: int = 0, site: str = "a") -> StoredArray:
    """Generated pixels in a file of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    path = folder / f"{site}.npy"
    writer = ArrayWriter(path, shape=variable.shape, dtype="uint16")
    for _ in range(records):
        writer.append(generator.integers(0, 200, variable.shape))
    entry = StoredArray(path, variable.shape, "uint16", records, step=1.0, start=0.0, sha256=writer.close())
    return entry.checked(site=site)


def dataset(folder: Path, *, patients: int = 24, images: int = 3, seed: int = 0, variable: Image = SCAN):
    """Streamed, and the same in memory."""
    streamed = on_disk(folder, patients=patients, images=images, seed=seed, variable=variable)
    return streamed, replace(streamed, features=streamed.features[:])


def on_disk(folder: Path, *, patients: int, images: int, seed: int, variable: Image) -> PatientDataset:
    """Streamed."""
    records = patients * images
    generator = np.random.default_rng(seed)
    entry = stored(folder, records, variable=variable, seed=seed, site=f"site{seed}")
    rows = generator.permutation(records).astype(np.int64)
    return PatientDataset(
        features=StreamedRows([ArrayBlock(variable, (entry,), np.zeros_like(rows), rows)]),
        outcomes=generator.integers(0, 2, records).astype(np.float32),
        patient_index=np.repeat(np.arange(patients), images).astype(np.int64),
        feature_names=tuple(f"scan[{place}]" for place in range(variable.size)),
    )


def network(variable: Image = SCAN):
    spec = CnnSpec(kind="cnn", image_shape=variable.shape, channels=(4,), hidden=8, normalisation="group")
    return build_model(spec, task="binary", num_features=variable.size, num_outputs=1, private=True)


def mechanism() -> MechanismSpec:
    return MechanismSpec(
        clipping_norm=1.0, noise_multiplier=1.0, sampling_numerator=2**51, divisor=6.0, steps_per_round=3, rounds=1
    )


@pytest.mark.parametrize("private", [False, True])
def test_training_and_evaluation_give_the_same_bits_streamed_and_in_memory(tmp_path: Path, private: bool) -> None:
    found = [
        train_locally(
            network(), data, task="binary", schedule=SCHEDULE, round_number=1, streams=STREAMS,
            mechanism=mechanism() if private else None,
        ).parameters
        for data in dataset(tmp_path)
    ]  # fmt: skip
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0] - flatten(network())).max() > 0
    sums = [evaluate(network(), data, task="binary", score_bins=20).to_arrays() for data in dataset(tmp_path)]
    for name, array in sums[0].items():
        np.testing.assert_array_equal(array, sums[1][name])


def test_patients_pooled_for_the_reference_are_those_of_every_site(tmp_path: Path) -> None:
    one, other = dataset(tmp_path, seed=1), dataset(tmp_path, seed=2, patients=10)
    streamed, whole = pooled_patients([one[0], other[0]]), pooled_patients([one[1], other[1]])
    assert isinstance(streamed.features, StreamedRows)
    np.testing.assert_array_equal(streamed.features[:], whole.features)
    some = np.array([3, 20, 24, 33])
    np.testing.assert_array_equal(streamed.patients(some).features, whole.patients(some).features)


def test_rows_are_chosen_as_in_a_matrix(tmp_path: Path) -> None:
    entry = stored(tmp_path, 9)
    rows = np.arange(9, dtype=np.int64)
    table = np.arange(18, dtype=np.float32).reshape(9, 2)
    streamed = StreamedRows([DenseBlock(table), ArrayBlock(SCAN, (entry,), np.zeros_like(rows), rows)])
    whole = streamed[:]
    for chosen in (slice(2, 7), slice(8, 20), np.array([5, 5, 0]), rows > 6, np.zeros(0, dtype=np.int64)):
        np.testing.assert_array_equal(streamed[chosen], whole[chosen])
    np.testing.assert_array_equal(streamed.column(1), table[:, 1])
    assert streamed.shape == (9, 2 + 256)


def growth_of_a_round(folder: Path, patients: int) -> float:
    """By how many MiB this process grows at most in a private round and an evaluation."""
    big = SCAN.model_copy(update={"height": 64, "width": 64})
    data = on_disk(folder / str(patients), patients=patients, images=1, seed=0, variable=big)
    before = peak_mib()
    train_locally(
        network(big), data, task="binary", schedule=SCHEDULE, round_number=1, streams=STREAMS, mechanism=mechanism()
    )
    evaluate(network(big), data, task="binary", score_bins=20)
    return peak_mib() - before


_ROUND = """
import sys
from pathlib import Path
import torch
from tests.site_client.arrays.test_streamed_rows import growth_of_a_round
torch.set_num_threads(1)
growth_of_a_round(Path(sys.argv[1]), 300)
print(growth_of_a_round(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    few, many = (grown_mib(_ROUND, tmp_path, patients) for patients in (400, 4000))
    whole = 4000 * 64 * 64 * 4 / 2**20
    assert many - few < 0.75 * whole, (few, many)  # read whole, they and a copy take 1.7 times as much
