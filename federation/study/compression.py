"""Compression of visible updates on their way to the aggregator: fewer coordinates, fewer bits for each, as bytes.

Everything a site sends is a function of its update and of what it held back before. Under patient-level privacy both are made from
updates that are private already, so compression is post-processing and costs nothing (Dwork & Roth 2014, proposition 2.1).

The bytes: an exponent (4 bytes, signed), the kept coordinates (positions of 4 bytes each, rising; or one bit for every coordinate,
whichever is shorter), and their values. All numbers little end first. The length follows from the specification alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from federation.documents import Document
from federation.errors import InvalidInputError

_HEADER_BYTES: Final = 4
_POSITION_BYTES: Final = 4
_MOST_NUMBERS: Final = 2**31
_LARGEST_EXPONENT: Final = 200
_HALF_EXPONENT: Final = 15
"""The largest value of a message is scaled to at most 2**15, within float16's 65504."""
_LARGEST_BFLOAT16: Final = np.uint32(0x7F7F0000)

Bytes = NDArray[np.uint8]


class CompressionSpec(Document):
    """How updates are made smaller. At least one of the two."""

    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    """Of a value, rounded to the nearest. ``float16`` has 11 significant bits and values are scaled by a power of two, the same
    for all of a message; ``bfloat16`` has 8 and the range of float32."""
    kept_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Part of the coordinates that a site sends: those with the largest magnitudes, of the update and everything it held back
    before (error feedback: Stich et al. 2018, algorithm 1; Karimireddy et al. 2019). ``None``: all, and nothing is held back."""

    @model_validator(mode="after")
    def _check_useful(self) -> Self:
        if self.precision == "float32" and self.kept_fraction is None:
            message = "compression: expected a precision below 'float32' or a kept_fraction, got neither (leave compression out)"
            raise ValueError(message)
        return self

    @property
    def has_feedback(self) -> bool:
        """Whether a site holds back what it did not send."""
        return self.kept_fraction is not None

    def kept(self, size: int) -> int:
        """Coordinates of an update of ``size`` numbers that are sent: at least one."""
        return size if self.kept_fraction is None else min(size, max(1, int(np.ceil(self.kept_fraction * size))))

    def num_bytes(self, size: int) -> int:
        """Bytes of a compressed update of ``size`` numbers: the same for every update.

        Raises:
            InvalidInputError: If there are none, or more than 2**31.
        """
        if not 1 <= size <= _MOST_NUMBERS:
            raise InvalidInputError(f"expected an update of 1 to {_MOST_NUMBERS} numbers, got {size}")
        kept, width = self.kept(size), 4 if self.precision == "float32" else 2
        places = 0 if kept == size else min(_POSITION_BYTES * kept, _bitmap_bytes(size))
        return _HEADER_BYTES + places + width * kept


@dataclass(frozen=True)
class Compressed:
    """An update as it is sent, and what is held back.

    Args:
        content: ``[num_bytes]``.
        residual: ``[size]`` float32: the update and the earlier residual, less what the content says.
    """

    content: Bytes = field(repr=False)
    residual: NDArray[np.float32] = field(repr=False)


def compress(update: NDArray[np.float32], spec: CompressionSpec, *, residual: NDArray[np.float32] | None) -> Compressed:
    """Compress an update together with what was held back before.

    Args:
        update: ``[size]``, finite.
        spec: Of the manifest.
        residual: ``[size]`` of the round before; ``None``: nothing was held back.

    Raises:
        InvalidInputError: If a number is not finite, or the lengths differ.
    """
    wanted = update.astype(np.float64)
    if residual is not None:
        if residual.shape != update.shape:
            raise InvalidInputError(f"expected a residual of {update.shape}, got {residual.shape}")
        wanted += residual
    if not (np.abs(wanted) <= np.finfo(np.float32).max).all():  # NaN compares false
        raise InvalidInputError("expected finite numbers in an update, got NaN or infinity")
    size, kept = len(wanted), spec.kept(len(wanted))
    content = np.zeros(spec.num_bytes(size), dtype=np.uint8)
    positions = _largest(np.abs(wanted), kept) if kept < size else None
    chosen = wanted if positions is None else wanted[positions]
    exponent, values = _encoded(chosen, spec)
    content[:_HEADER_BYTES] = np.array([exponent], dtype="<i4").view(np.uint8)
    if positions is not None:
        places = _as_places(positions, size)
        content[_HEADER_BYTES : _HEADER_BYTES + len(places)] = places
    content[len(content) - len(values) :] = values
    return Compressed(content=content, residual=(wanted - decompress(content, spec, size=size)).astype(np.float32))


def decompress(content: Bytes, spec: CompressionSpec, *, size: int) -> NDArray[np.float32]:
    """The update that compressed bytes stand for: ``[size]``; zero where nothing was sent.

    Whether the numbers are finite is not looked at.

    Args:
        content: What arrived.
        spec: Of the manifest.
        size: Length that was agreed.

    Raises:
        InvalidInputError: If the bytes are not of the agreed length, or their places or exponent are not allowed.
    """
    expected = spec.num_bytes(size)
    if content.dtype != np.uint8 or content.shape != (expected,):
        raise InvalidInputError(
            f"expected {expected} bytes of a compressed update, got {content.dtype} {content.shape}"
        )
    raw, kept = content.tobytes(), spec.kept(size)
    exponent = int(np.frombuffer(raw, dtype="<i4", count=1)[0])
    if abs(exponent) > _LARGEST_EXPONENT or (exponent and spec.precision != "float16"):
        raise InvalidInputError(
            f"expected an exponent within {_LARGEST_EXPONENT}, and 0 without scaling, got {exponent}"
        )
    width = 4 if spec.precision == "float32" else 2
    values = _decoded(raw[expected - width * kept :], exponent, spec)
    if kept == size:
        return values
    found = np.zeros(size, dtype=np.float32)
    found[_positions(raw[_HEADER_BYTES : expected - width * kept], size=size, kept=kept)] = values
    return found


def _largest(magnitudes: NDArray[np.float64], kept: int) -> NDArray[np.int64]:
    """Positions of the largest, rising; of equal ones the first: the same on every machine."""
    smallest = np.partition(magnitudes, len(magnitudes) - kept)[len(magnitudes) - kept]
    is_kept = magnitudes > smallest
    ties = np.flatnonzero(magnitudes == smallest)[: kept - int(is_kept.sum())]
    is_kept[ties] = True
    return np.flatnonzero(is_kept)


def _bitmap_bytes(size: int) -> int:
    return -(-size // 8)


def _as_places(positions: NDArray[np.int64], size: int) -> Bytes:
    if _POSITION_BYTES * len(positions) <= _bitmap_bytes(size):
        return positions.astype("<u4").view(np.uint8)
    is_kept = np.zeros(size, dtype=np.bool_)
    is_kept[positions] = True
    return np.packbits(is_kept, bitorder="little")


def _positions(places: bytes, *, size: int, kept: int) -> NDArray[np.int64]:
    if _POSITION_BYTES * kept <= _bitmap_bytes(size):
        positions = np.frombuffer(places, dtype="<u4").astype(np.int64)
    else:
        bits = np.unpackbits(np.frombuffer(places, dtype=np.uint8), bitorder="little")
        positions = np.flatnonzero(bits)
    if len(positions) != kept or (np.diff(positions) <= 0).any() or positions[-1] >= size:
        raise InvalidInputError(f"expected {kept} rising positions below {size} in a compressed update, got others")
    return positions


def _encoded(values: NDArray[np.float64], spec: CompressionSpec) -> tuple[int, Bytes]:
    """Exponent and bytes of the values."""
    if spec.precision == "float32":
        return 0, values.astype("<f4").view(np.uint8)
    if spec.precision == "bfloat16":
        bits = values.astype("<f4").view("<u4")
        sign, size = bits & np.uint32(0x80000000), bits & np.uint32(0x7FFFFFFF)
        rounded = size + np.uint32(0x7FFF) + ((size >> np.uint32(16)) & np.uint32(1))  # to the nearest, ties to even
        rounded = np.minimum(rounded & np.uint32(0xFFFF0000), _LARGEST_BFLOAT16) | sign
        return 0, (rounded >> np.uint32(16)).astype("<u2").view(np.uint8)
    largest = float(np.abs(values).max())
    exponent = int(np.frexp(largest)[1]) - _HALF_EXPONENT if largest else 0
    return exponent, (values * 2.0**-exponent).astype("<f2").view(np.uint8)


def _decoded(raw: bytes, exponent: int, spec: CompressionSpec) -> NDArray[np.float32]:
    if spec.precision == "float32":
        return np.frombuffer(raw, dtype="<f4").astype(np.float32)
    if spec.precision == "bfloat16":
        return (np.frombuffer(raw, dtype="<u2").astype("<u4") << np.uint32(16)).view("<f4").astype(np.float32)
    with np.errstate(over="ignore"):  # whoever sends such numbers is told by the check that they be finite
        return (np.frombuffer(raw, dtype="<f2").astype(np.float64) * 2.0**exponent).astype(np.float32)
