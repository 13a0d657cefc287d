"""Drawing slices with a known lesion: an ellipse of tissue, smooth texture, noise, and in some of them a brighter disc.

Nobody was ever in a scanner: everything is drawn from a stream of random numbers, and the truth is what was drawn.

Axis names: H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document

FloatArray = NDArray[np.float64]

SIDE: Final = 28
_AIR, _TISSUE = -60.0, 40.0
"""CT numbers in HU."""
_TEXTURE: Final = 12.0
_MARGIN: Final = 1.5
"""Pixels between a lesion and the edge of the tissue."""


class PictureOptions(Document):
    """Options of the study."""

    task: Literal["classification", "segmentation"] = "classification"
    num_sites: Annotated[int, Field(ge=2, le=50)] = 4
    patients_per_site: Annotated[int, Field(ge=8, le=100_000)] = 60
    images_per_patient: Annotated[int, Field(ge=1, le=100)] = 3
    """A patient has 1 to this many slices, each number equally likely."""
    lesion_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of the patients who have a lesion; all of a patient's slices show it."""
    contrast: Annotated[float, Field(gt=0, le=500)] = 60.0
    """By how many HU a lesion is brighter than tissue."""
    noise: Annotated[float, Field(ge=0, le=500)] = 15.0
    """Standard deviation in HU of the quietest scanner; others have up to twice as much."""


@dataclass(frozen=True)
class Scanner:
    """How a hospital's files differ from another's though they mean the same.

    Args:
        slope: HU per stored number.
        intercept: HU of a stored 0.
        side: Pixels of a side.
        noise: Standard deviation in HU.
        syntax: How pixels are stored.
        inverted: MONOCHROME1: more is darker.
    """

    slope: float
    intercept: float
    side: int
    noise: float
    syntax: Literal["explicit", "implicit", "deflated", "rle"]
    inverted: bool


@dataclass(frozen=True)
class Slice:
    """One drawn slice.

    Args:
        patient: A made-up pseudonym.
        values: ``[H, W]`` in HU, with noise.
        mask: ``[H, W]`` 0 and 1: where the lesion was drawn.
    """

    patient: str
    values: FloatArray = field(repr=False)
    mask: NDArray[np.uint8] = field(repr=False)

    @property
    def has_lesion(self) -> bool:
        """Whether there is any."""
        return bool(self.mask.any())


_SCANNERS: Final = (
    Scanner(slope=1.0, intercept=-1024.0, side=SIDE, noise=1.0, syntax="explicit", inverted=False),
    Scanner(slope=0.5, intercept=-500.0, side=SIDE, noise=1.3, syntax="rle", inverted=False),
    Scanner(slope=0.25, intercept=-200.0, side=SIDE, noise=1.6, syntax="deflated", inverted=True),
    Scanner(slope=2.0, intercept=-1000.0, side=2 * SIDE, noise=2.0, syntax="implicit", inverted=False),
)


def scanner_of(site: int, *, noise: float) -> Scanner:
    """The scanner of a hospital, by its number from 0; there are four kinds."""
    kind = _SCANNERS[site % len(_SCANNERS)]
    return replace(kind, noise=kind.noise * noise)


def draw_slices(options: PictureOptions, scanner: Scanner, *, site: str, generator: Generator) -> Iterator[Slice]:
    """Every slice of one hospital, patient by patient."""
    for number in range(options.patients_per_site):
        count = int(generator.integers(1, options.images_per_patient + 1))
        has_lesion = generator.random() < options.lesion_share
        for _ in range(count):
            values, mask = _draw(scanner.side, options, has_lesion=has_lesion, generator=generator)
            noisy = values + scanner.noise * generator.standard_normal(values.shape)
            yield Slice(patient=f"{site}-{number:05d}", values=noisy, mask=mask)


def _draw(
    side: int, options: PictureOptions, *, has_lesion: bool, generator: Generator
) -> tuple[FloatArray, NDArray[np.uint8]]:
    rows, columns = np.mgrid[0:side, 0:side] / side  # in sides, so that scanners of any resolution see the same
    middle = generator.uniform(0.45, 0.55, 2)
    radii = generator.uniform(0.34, 0.44, 2)
    tissue = np.square((rows - middle[0]) / radii[0]) + np.square((columns - middle[1]) / radii[1]) <= 1
    values = np.where(tissue, _TISSUE, _AIR) + _TEXTURE * _smooth(side, generator)
    mask = np.zeros((side, side), dtype=np.uint8)
    if has_lesion:
        radius = generator.uniform(2.0, 4.5) / SIDE
        reach = np.maximum(radii - radius - _MARGIN / SIDE, 0.0)
        angle, distance = generator.uniform(0, 2 * np.pi), np.sqrt(generator.random())
        centre = middle + distance * reach * np.array([np.sin(angle), np.cos(angle)])
        inside = np.square(rows - centre[0]) + np.square(columns - centre[1]) <= radius**2
        mask[inside] = 1
        values = values + options.contrast * inside
    return values, mask


def _smooth(side: int, generator: Generator) -> FloatArray:
    """Standard normal texture of few waves."""
    rows, columns = np.mgrid[0:side, 0:side] * 2 * np.pi / side
    total = np.zeros((side, side))
    for _ in range(4):
        waves, phase = generator.integers(1, 4, 2), generator.uniform(0, 2 * np.pi)
        total += np.sin(waves[0] * rows + waves[1] * columns + phase)
    return total / np.sqrt(2.0)
