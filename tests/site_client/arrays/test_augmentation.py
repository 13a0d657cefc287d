"""Augmentation changes training images and their masks alike, by numbers of each record's own, and the same way when it is repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from federation.errors import ManifestError
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.study.augmentation import AugmentationSpec
from federation.study.manifest import StudyManifest
from federation.study.schedule import Schedule
from site_client.augmentation import Augmentation, changed
from site_client.training import train_locally
from tests.site_client.arrays.small_store import SCAN
from tests.site_client.arrays.small_store import contract as small_contract
from tests.site_client.arrays.test_several_images import LESION, SIDE, dataset, network
from tests.site_client.arrays.test_several_images import SCAN as IMAGE
from tests.small_study import manifest_data

ON = AugmentationSpec(flip=True, shift=2, intensity=0.2)
SCHEDULE = Schedule.from_data(
    {"rounds": 2, "local_steps": 3, "batch_size": 3, "optimiser": {"learning_rate": 0.1}, "augmentation": ON.as_data()}
)


def streams(seed: int = 1) -> RandomStreams:
    return seeded_streams(seed, provenance="synthetic")


def test_a_mask_moves_with_its_image() -> None:
    generator = np.random.default_rng(0)
    masks = (generator.random((30, SIDE * SIDE)) > 0.8).astype(np.float32)
    images = 2 * masks - 1
    numbers = generator.random((30, 5))
    geometric = ON.model_copy(update={"intensity": 0.0})
    moved = changed(images, IMAGE, spec=geometric, numbers=numbers)
    np.testing.assert_array_equal(moved, 2 * changed(masks, LESION, spec=geometric, numbers=numbers) - 1)
    assert (moved != images).any(axis=1).sum() > 25
    bright = changed(images, IMAGE, spec=ON, numbers=numbers)
    assert bright.min() >= -1
    assert bright.max() <= 1
    np.testing.assert_array_equal(changed(masks, LESION, spec=ON, numbers=numbers) > 0.5, moved > 0)


@pytest.mark.parametrize(("down", "right"), [(2, 0), (-1, 2), (0, -2)])
def test_a_shift_is_that_of_the_picture(down: int, right: int) -> None:
    image = np.arange(SIDE * SIDE, dtype=np.float32).reshape(1, -1) / 200
    spec = AugmentationSpec(shift=2)
    numbers = np.array([[0.0, (down + 2.5) / 5, (right + 2.5) / 5, 0.5, 0.5]])
    found = changed(image, IMAGE, spec=spec, numbers=numbers).reshape(SIDE, SIDE)
    expected = np.full((SIDE, SIDE), -1.0, dtype=np.float32)
    for row in range(SIDE):
        for column in range(SIDE):
            if 0 <= row - down < SIDE and 0 <= column - right < SIDE:
                expected[row, column] = image.reshape(SIDE, SIDE)[row - down, column - right]
    np.testing.assert_array_equal(found, expected)


def test_one_record_is_changed_the_same_way_whatever_others_are_read(tmp_path: Path) -> None:
    augmentation = Augmentation(dataset(tmp_path, "segmentation"), ON, streams())
    augmentation.next_step()
    features = augmentation.dataset.features
    alone, together = features[np.array([7])], features[np.array([3, 7, 20])]
    np.testing.assert_array_equal(alone[0], together[1])
    augmentation.next_step()
    assert not np.array_equal(features[np.array([7])], alone)


@pytest.mark.parametrize("task", ["binary", "segmentation"])
def test_a_repeated_round_trains_the_same_bytes_and_another_round_does_not(tmp_path: Path, task: str) -> None:
    data = dataset(tmp_path, task)

    def trained(schedule: Schedule, round_number: int = 1, seed: int = 1) -> bytes:
        return train_locally(
            network(task), data, task=task, schedule=schedule, round_number=round_number, mechanism=None,
            streams=streams(seed),
        ).parameters.tobytes()  # fmt: skip

    off = SCHEDULE.model_copy(update={"augmentation": AugmentationSpec()})
    assert trained(SCHEDULE) == trained(SCHEDULE)
    assert len({trained(SCHEDULE), trained(off), trained(SCHEDULE, 2), trained(SCHEDULE, seed=2)}) == 4


def test_off_is_the_default_and_leaves_digests_alone() -> None:
    plain = StudyManifest.from_data(manifest_data())
    assert "augmentation" not in plain.as_data()["schedule"]
    schedule = manifest_data()["schedule"] | {"augmentation": {"flip": False, "shift": 0, "intensity": 0.0}}
    assert StudyManifest.from_data(manifest_data(schedule=schedule)).digest == plain.digest


def test_only_images_can_be_augmented() -> None:
    schedule = manifest_data()["schedule"] | {"augmentation": ON.as_data()}
    with pytest.raises(ManifestError, match="images only"):
        StudyManifest.from_data(manifest_data(schedule=schedule))
    agreed = small_contract(SCAN).as_data()
    accepted = StudyManifest.from_data(manifest_data(schedule=schedule, contract=agreed))
    assert accepted.schedule.augmentation == ON
    with pytest.raises(ManifestError, match="paid preparation"):
        StudyManifest.from_data(manifest_data(contract=agreed, preprocessing="site_standardised"))
