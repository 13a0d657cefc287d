"""Real numbers as whole numbers of a ring, so that sums are exact and masks can hide them.

Updates are clipped to a public range and rounded at random, without bias, to multiples of a public step that is as small as
the ring allows: the sum of all sites at their largest still fits. Exact statistics are fixed-point numbers and are never clipped or
rounded at random; what does not fit is refused. A value that is not finite is refused by both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from federation import checks
from federation.errors import InvalidInputError
from federation.protocol.secure_sum.layout import FEWEST_BITS, WORD_BITS, Ring32, Ring64
from federation.protocol.secure_sum.masking import MASK_KEY_BYTES, MaskStream, aligned

_LARGEST_32: Final = 2**31 - 1
_FEWEST_STEPS: Final = 16
"""Between zero and all sites at their largest: fewer are no numbers any more."""
LARGEST_64: Final = 2**63 - 1
"""No sum modulo 2**64 is beyond plus or minus this."""
_POINT: Final = 2.0**16
_ROUNDER: Final = 1.5 * 2.0**52 * _POINT
"""Added to a float64 between plus and minus 2**47, leaves its nearest multiple of 2**16 in the lowest bits of the mantissa."""
_MOST_WEIGHT: Final = 2**24
_MOST_SITES: Final = 2**16
_MOST_FRACTION_BITS: Final = 52
_SMALLEST_RANGE: Final = 2.0**-512
_LARGEST_RANGE: Final = 2.0**512

Reals = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class UpdateEncoding:
    """How updates become numbers modulo ``2**bits``.

    Args:
        value_range: A coordinate is clipped to plus or minus this, before its weight.
        total_weight: Sum of all sites' public weights, whole numbers; the number of sites if all weigh the same.
        sites: All sites of the roster.
        bits: Of a number on its way, from 8 to 32: each bit less doubles the step, and the noise of rounding with it.

    Raises:
        InvalidInputError: If a number is out of range.
    """

    value_range: float
    total_weight: int
    sites: int
    bits: int = WORD_BITS

    def __post_init__(self) -> None:
        checks.positive(value_range=self.value_range)
        if not FEWEST_BITS <= self.bits <= WORD_BITS or self._steps < _FEWEST_STEPS:
            raise InvalidInputError(
                f"expected {FEWEST_BITS} to {WORD_BITS} bits, enough for {self.sites} sites, got {self.bits}",
                remedy="send more bits a number",
            )
        if not 1 <= self.sites <= min(_MOST_SITES, self.total_weight) or self.total_weight > _MOST_WEIGHT:
            raise InvalidInputError(
                f"expected 1 to {_MOST_SITES} sites of total weight from their number to {_MOST_WEIGHT}, "
                f"got {self.sites} of weight {self.total_weight}",
                remedy="scale the weights down; only their ratios matter",
            )
        if not _SMALLEST_RANGE <= self.value_range <= _LARGEST_RANGE:
            raise InvalidInputError(
                f"expected a value_range from {_SMALLEST_RANGE} to {_LARGEST_RANGE}, got {self.value_range}",
                remedy="the numbers between steps would leave the range of floating point; choose another unit",
            )

    @property
    def step(self) -> float:
        """The value of one ring unit. All weights times the range, plus a unit of rounding a site, stay below half the ring."""
        return self.value_range * self.total_weight / self._steps

    @property
    def _steps(self) -> int:
        return 2 ** (self.bits - 1) - 1 - 2 * self.sites

    def error_bound(self, survivors: int) -> float:
        """Largest error of a coordinate of the decoded weighted sum, beside clipping: at most a step for each site.

        The error's mean is zero up to 2**-16 of a step for each site, its standard deviation at most half a step times the
        root of the survivors.
        """
        return self.step * survivors

    def source(self, values: Reals, *, weight: int, generator: Generator) -> UpdateSource:
        """A site's weighted update, rounded when it is masked.

        Args:
            values: Vector ``[updates]``.
            weight: The site's public weight.
            generator: Cryptographic; one new key is taken for the rounding.

        Raises:
            InvalidInputError: If the weight is not between 1 and the total, or the values are not a vector of floats.
        """
        if not 1 <= weight <= self.total_weight - self.sites + 1:
            raise InvalidInputError(f"expected a weight from 1 within the total {self.total_weight}, got {weight}")
        if values.ndim != 1 or values.dtype.kind != "f":
            raise InvalidInputError(f"expected a vector of floats, got {values.dtype} {list(values.shape)}")
        return UpdateSource(
            values=values,
            value_range=self.value_range,
            scale=weight / self.step,
            stream=MaskStream(generator.bytes(MASK_KEY_BYTES)),
            bits=self.bits,
        )

    def decode(self, total: Ring32) -> NDArray[np.float64]:
        """The weighted sum of an opened sum; divide by the survivors' weights for the mean."""
        return self._signed(total).astype(np.float64) * self.step

    def _signed(self, total: Ring32) -> NDArray[np.int32]:
        lacking = WORD_BITS - self.bits
        return total.view(np.int32) if not lacking else (total << lacking).view(np.int32) >> lacking


class UpdateSource:
    """Writes an update into the ring, block by block, once. Made by :meth:`UpdateEncoding.source`.

    A value in steps is scaled to 16 binary places; an odd number between plus and minus 2**15 is added, and the sum is rounded
    to whole steps: up with the probability of the fraction. That last rounding is the addition of a large constant, after which
    the whole number stands in the lowest bits of the float, as two's complement.
    """

    def __init__(self, *, values: Reals, value_range: float, scale: float, stream: MaskStream, bits: int) -> None:
        self.bits = bits
        self._values = values
        self._range = value_range
        self._scale = scale * _POINT
        self._stream = stream
        self._work = np.empty(0)
        self._words = np.empty(0, dtype="<i2")

    def __len__(self) -> int:
        return len(self._values)

    def write(self, start: int, block: Ring32) -> None:
        """Write the numbers from ``start`` on. Blocks come in order.

        Raises:
            InvalidInputError: If one is NaN or infinite.
        """
        count = len(block)
        if len(self._work) < count:
            self._work = aligned(8 * count).view(np.float64)
            self._words = aligned(2 * count, far_from=self._work).view("<i2")
        work, words = self._work[:count], self._words[:count]
        values = self._values[start : start + count]
        np.copyto(work, values)
        if count and not (values.min() >= -self._range and values.max() <= self._range):  # NaN compares false
            self._clip(work)
        np.multiply(work, self._scale, out=work)
        self._stream.write(words.data.cast("B"))
        np.bitwise_or(words, 1, out=words)  # odd: as often above zero as below, and never a half
        np.add(work, words, out=work)
        np.add(work, _ROUNDER, out=work)
        np.copyto(block, work.view("<u8"), casting="unsafe")

    def _clip(self, work: NDArray[np.float64]) -> None:
        """Clip, which is rarely needed: two passes that look are cheaper than one that writes."""
        if not np.isfinite(work).all():
            raise InvalidInputError("expected finite numbers in an update, got NaN or infinity")
        np.clip(work, -self._range, self._range, out=work)


class IntegerSource:
    """Writes whole numbers that are in the ring already, such as values with discrete noise.

    Args:
        values: Whole numbers ``[size]``, int64.
        largest: No number is beyond plus or minus this.
        sites: All sites of the roster: their sum must fit in the ring.
        bits: Of the ring, 32 or 64.

    Raises:
        InvalidInputError: If a number is out of range, or sums could wrap around.
    """

    def __init__(self, values: NDArray[np.int64], *, largest: int, sites: int, bits: int) -> None:
        room = {32: _LARGEST_32, 64: LARGEST_64}.get(bits)
        if room is None or sites < 1 or not 0 <= largest <= room // sites:
            raise InvalidInputError(
                f"expected {sites} times the largest number to fit in a ring of 32 or 64 bits, got {largest} in {bits}",
                remedy="make the step coarser or use the wider ring",
            )
        if values.ndim != 1 or values.dtype != np.int64:
            raise InvalidInputError(f"expected a vector of int64, got {values.dtype} {list(values.shape)}")
        if len(values) and not -largest <= int(values.min()) <= int(values.max()) <= largest:
            raise InvalidInputError(f"expected numbers within plus or minus {largest}, got one beyond")
        self.bits = bits
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def write(self, start: int, block: Ring32 | Ring64) -> None:
        """Write the numbers from ``start`` on."""
        np.copyto(block, self._values[start : start + len(block)], casting="unsafe")


@dataclass(frozen=True)
class StatisticsEncoding:
    """How exact statistics become numbers modulo 2**64: fixed point, to the nearest ``2**-fraction_bits``.

    Args:
        largest: No value is beyond plus or minus this.
        sites: All sites of the roster.
        fraction_bits: Binary places; 0 for counts, which are then exact.

    Raises:
        InvalidInputError: If the sum of all sites could wrap around.
    """

    largest: float
    sites: int
    fraction_bits: int = 0

    def __post_init__(self) -> None:
        checks.positive(largest=self.largest, sites=self.sites)
        is_known = 0 <= self.fraction_bits <= _MOST_FRACTION_BITS and self.largest <= LARGEST_64
        if not (is_known and self._limit <= LARGEST_64 // self.sites):
            raise InvalidInputError(
                f"expected {self.sites} times {self.largest} with {self.fraction_bits} binary places to fit in 64 bits",
                remedy="use fewer binary places",
            )

    @property
    def _limit(self) -> int:
        return int(self.largest * 2.0**self.fraction_bits) + 1

    def source(self, values: NDArray[np.float64]) -> IntegerSource:
        """A site's statistics ``[statistics]``.

        Raises:
            InvalidInputError: If a value is not finite or out of range.
        """
        if not (np.isfinite(values).all() and np.all(np.abs(values) <= self.largest)):
            raise InvalidInputError(f"expected finite statistics within plus or minus {self.largest}, got others")
        fixed = np.rint(values * 2.0**self.fraction_bits).astype(np.int64)
        return IntegerSource(fixed, largest=self._limit, sites=self.sites, bits=64)

    def decode(self, total: Ring64) -> NDArray[np.float64]:
        """The sum of an opened sum, exact while it has at most 53 significant bits."""
        return total.view(np.int64).astype(np.float64) * 2.0**-self.fraction_bits
