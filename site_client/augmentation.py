"""Training images changed at random, as the study agreed (:mod:`federation.study.augmentation`); they stay on the disk.

At every step each record gets five numbers, whether it is drawn or not. So what happens to one record follows from the site's
stream, the round, the step and its own place, and a repeated round changes the same images in the same way.

Axis names: R records, n chosen rows, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from federation.data.arrays import ArrayVariable, Image, Mask
from federation.errors import ManifestError
from federation.privacy.randomness import RandomStreams
from federation.study.augmentation import AugmentationSpec
from site_client.arrays.streamed import ArrayBlock, Rows, StreamedRows
from site_client.patients import Features, PatientDataset

_NUMBERS = 5
"""A record's draws: mirror, shift down, shift right, contrast, brightness; uniform on [0, 1)."""


class Augmentation:
    """A data set whose images are changed anew at every step.

    Args:
        dataset: Training patients.
        spec: What was agreed.
        streams: Of this site and round, and of nothing else.

    Raises:
        ManifestError: If there is something to change and no image.
    """

    def __init__(self, dataset: PatientDataset, spec: AugmentationSpec, streams: RandomStreams) -> None:
        self._spec = spec
        self.numbers: NDArray[np.float64] = np.zeros((0, _NUMBERS))
        self._records = dataset.num_records
        self.dataset = dataset
        self._generator: Generator | None = None
        if not spec.is_on:
            return
        self._generator = streams.stream("augmentation")
        if not isinstance(dataset.features, StreamedRows):
            raise ManifestError("expected images to augment, got none", remedy="switch schedule.augmentation off")
        self.dataset = replace(
            dataset, features=self._changed(dataset.features), outcomes=self._changed(dataset.outcomes)
        )

    def next_step(self) -> None:
        """Draw new numbers for every record."""
        if self._generator is not None:
            self.numbers = self._generator.random((self._records, _NUMBERS))

    def _changed(self, rows: Features) -> Features:
        return _ChangedRows(rows, self, self._spec) if isinstance(rows, StreamedRows) else rows


class _ChangedRows(StreamedRows):
    """Rows as the current step changes them."""

    def __init__(self, rows: StreamedRows, step: Augmentation, spec: AugmentationSpec) -> None:
        super().__init__(rows.blocks)
        self._step, self._spec = step, spec

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        found = super().__getitem__(rows)
        numbers = self._step.numbers[rows]
        start = 0
        for block in self.blocks:
            if isinstance(block, ArrayBlock) and isinstance(block.variable, Image | Mask):
                pixels = found[:, start : start + block.width]
                pixels[:] = changed(pixels, block.variable, spec=self._spec, numbers=numbers)
            start += block.width
        return found


def changed(
    pixels: NDArray[np.float32], variable: ArrayVariable, *, spec: AugmentationSpec, numbers: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Encoded images or masks, changed.

    Args:
        pixels: ``[n, C * H * W]`` in [-1, 1], or 0 and 1.
        variable: Supplies the shape, and whether it is a mask.
        spec: What was agreed.
        numbers: ``[n, 5]`` uniform on [0, 1), the same for an image and its mask.
    """
    is_mask = isinstance(variable, Mask)
    images = pixels.reshape(len(pixels), *variable.shape)
    found = np.empty_like(images)
    steps = np.floor(numbers[:, 1:3] * (2 * spec.shift + 1)).astype(np.int64) - spec.shift
    for place, image in enumerate(images):
        turned = image[:, :, ::-1] if spec.flip and numbers[place, 0] < 0.5 else image  # noqa: PLR2004 - one in two
        found[place] = _shifted(turned, int(steps[place, 0]), int(steps[place, 1]), fill=0.0 if is_mask else -1.0)
    flat = found.reshape(pixels.shape)
    if is_mask or spec.intensity == 0:
        return flat
    contrast, brightness = (((2 * numbers[:, column] - 1) * spec.intensity)[:, None] for column in (3, 4))
    return np.clip(flat * (1 + contrast) + brightness, -1.0, 1.0).astype(np.float32)


def _shifted(image: NDArray[np.float32], down: int, right: int, *, fill: float) -> NDArray[np.float32]:
    """``[C, H, W]`` moved; pixels that leave are lost."""
    if not down and not right:
        return image
    height, width = image.shape[1:]
    found = np.full_like(image, fill)
    if abs(down) >= height or abs(right) >= width:
        return found
    found[:, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = image[
        :, max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)
    ]
    return found
