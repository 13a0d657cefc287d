"""Variables of which a record holds a whole array: an image, a signal, or the mask that a segmentation is to find.

Arrays are encoded by public facts only, as numbers are: the contract's range is mapped to [-1, 1], values outside it are moved to
the nearest bound (for an image, that is its window), and the array is flattened channels first, so F is the product of its shape.
A mask becomes 0 and 1.

Axis names: R records, C channels, H height, W width, T samples, F features.

>>> scan = Image(kind="image", name="scan", modality="chest radiograph", channels=1, height=2, width=2,
...              minimum=0, maximum=100, unit="dimensionless")
>>> encode_array(scan, np.array([[[[0.0, 25.0], [100.0, 400.0]]]])).tolist()
[[-1.0, -0.5, 1.0, 1.0]]
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from federation.data.missing import ExcludeMissing, MissingArrayRule
from federation.documents import Document
from federation.errors import InternalError
from federation.identifiers import VariableName

_LARGEST = 2**24
"""Values of one record: a limit on what a manifest can make a site allocate."""
Side = Annotated[int, Field(ge=1, le=65_536)]


class _Array(Document):
    name: VariableName
    description: str = ""
    missing: MissingArrayRule = ExcludeMissing()
    """A record whose array is absent or could not be read has a missing value."""
    maximum_missing_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Readiness fails at a site where a larger fraction is missing."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one record's array, channels first."""

    @property
    def size(self) -> int:
        """F: values of one record."""
        return int(np.prod(self.shape))

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.size > _LARGEST:
            message = f"expected at most {_LARGEST} values in {self.name}, got {' x '.join(map(str, self.shape))}"
            raise ValueError(message)
        return self


class _Ranged(_Array):
    minimum: float
    """Becomes -1; smaller values are moved to it."""
    maximum: float
    """Becomes 1; larger values are moved to it."""
    unit: Annotated[str, Field(min_length=1)]
    """Of the values: a unit pint knows, ``HU`` for CT numbers, ``dimensionless`` if there is none."""
    maximum_outside_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    """An array of which a larger share of the values lies outside the range is implausible, and treated as missing."""
    maximum_out_of_range_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Readiness fails at a site where a larger fraction of the records is implausible."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if not self.minimum < self.maximum:
            message = f"expected minimum < maximum for {self.name}, got {self.minimum} and {self.maximum}"
            raise ValueError(message)
        return self


class Image(_Ranged):
    """A picture of a fixed number of pixels, such as a radiograph or one slice of a scan."""

    kind: Literal["image"]
    modality: Annotated[str, Field(min_length=1)]
    """In words: ``chest radiograph``, ``CT of the head, axial slice``."""
    channels: Side = 1
    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return (self.channels, self.height, self.width)


class Signal(_Ranged):
    """Values over time at a fixed rate, such as an ECG segment."""

    kind: Literal["signal"]
    channels: Side = 1
    samples: Side
    sampling_rate_hz: Annotated[float, Field(gt=0)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, samples."""
        return (self.channels, self.samples)


class Mask(_Array):
    """Which pixels belong to what is looked for: the outcome of a segmentation. Values are 0 and 1."""

    kind: Literal["mask"]
    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """One channel, height, width."""
        return (1, self.height, self.width)


ArrayVariable = Image | Signal | Mask


def encode_array(variable: ArrayVariable, values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Encode arrays by the contract's range.

    Args:
        variable: Supplies shape and range.
        values: ``[R, *shape]`` in the contract's unit, without NaN.

    Returns:
        ``[R, F]`` float32 in [-1, 1]; 0 or 1 for a mask.

    Raises:
        InternalError: If the shape is another.
    """
    if values.shape[1:] != variable.shape:
        raise InternalError(f"expected arrays of shape {variable.shape} for {variable.name}, got {values.shape[1:]}")
    flat = values.reshape(len(values), variable.size)
    if isinstance(variable, Mask):
        return (flat > 0.5).astype(np.float32)  # noqa: PLR2004 - between the two values
    middle, half = (variable.minimum + variable.maximum) / 2, (variable.maximum - variable.minimum) / 2
    return np.clip((flat.astype(np.float32) - np.float32(middle)) / np.float32(half), -1.0, 1.0)


def outside_fraction(variable: ArrayVariable, values: NDArray[np.floating]) -> float:
    """Share of one array's values that lie outside the range; for a mask, that are neither 0 nor 1.

    Args:
        variable: Supplies the range.
        values: Of one record, in the contract's unit.
    """
    if isinstance(variable, Mask):
        return float(np.mean((values != 0) & (values != 1)))
    return float(np.mean((values < variable.minimum) | (values > variable.maximum)))


def is_implausible(variable: ArrayVariable, values: NDArray[np.floating]) -> bool:
    """Whether one record's array is to be treated as missing because of its values."""
    limit = 0.0 if isinstance(variable, Mask) else variable.maximum_outside_fraction
    return not bool(np.isfinite(values).all()) or outside_fraction(variable, values) > limit
