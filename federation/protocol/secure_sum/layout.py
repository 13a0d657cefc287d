"""Where things lie in a masked vector: two rings, and check words behind the numbers of each.

A contribution has *statistics* modulo 2**64 and *updates* modulo 2**32; either may be empty. Updates may be agreed to have
fewer bits: then only their lowest bits travel, and they are numbers modulo 2**bits. Every site writes the constant 1 into
the check words, so in the sum they hold the number of survivors. They show that all masks cancelled, that is, that keys,
model and layout were the same everywhere: a mask that is left over makes each of them uniform, and all of them right with
probability 2**-128 at most. They do not show that a site's numbers are true; nothing in a masked sum does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError

Ring32 = NDArray[np.uint32]
"""Numbers modulo 2**32, little end first on the wire."""
Ring64 = NDArray[np.uint64]
"""Numbers modulo 2**64, little end first on the wire."""

WORD_BITS: Final = 32
FEWEST_BITS: Final = 8
CHECK_BITS: Final = 128
CHECK_WORDS_64: Final = 2
_LENGTH_BITS: Final = 28
_MOST_NUMBERS: Final = 2**_LENGTH_BITS - 1
_LAYOUT_BYTES: Final = 8


def packed_bytes(words: int, bits: int) -> int:
    """Bytes of so many numbers of so many bits without gaps."""
    return -(-words * bits // 8)


@dataclass(frozen=True)
class Layout:
    """How many numbers a contribution has. Public, and the same at every site.

    Args:
        updates: Numbers modulo 2**32.
        statistics: Numbers modulo 2**64.
        update_bits: Of each update on its way, 8 to 32.

    Raises:
        InvalidInputError: If there are none, or 2**28 and more, or of other sizes.
    """

    updates: int
    statistics: int = 0
    update_bits: int = WORD_BITS

    def __post_init__(self) -> None:
        if not FEWEST_BITS <= self.update_bits <= WORD_BITS:
            raise InvalidInputError(f"expected {FEWEST_BITS} to {WORD_BITS} bits a number, got {self.update_bits}")
        if not (0 <= self.updates <= _MOST_NUMBERS and 0 <= self.statistics <= _MOST_NUMBERS):
            raise InvalidInputError(f"expected 0 to {_MOST_NUMBERS} numbers, got {self.updates} and {self.statistics}")
        if self.updates + self.statistics == 0:
            raise InvalidInputError("expected something to sum, got an empty layout")

    @property
    def words_32(self) -> int:
        """Words of the 32-bit part, check words included."""
        return self.updates + -(-CHECK_BITS // self.update_bits) if self.updates else 0

    @property
    def words_64(self) -> int:
        """Words of the 64-bit part, check words included."""
        return self.statistics + CHECK_WORDS_64 if self.statistics else 0

    @property
    def payload_bytes(self) -> int:
        """Bytes of the masked vector: the 64-bit part, then the 32-bit part in its agreed bits."""
        return 8 * self.words_64 + packed_bytes(self.words_32, self.update_bits)

    @property
    def is_packed(self) -> bool:
        """Whether updates travel in fewer bits than they are masked in."""
        return self.update_bits < WORD_BITS

    def to_bytes(self) -> bytes:
        """Eight bytes: both lengths, big end first, with the bits that updates lack in the four uppermost bits of each."""
        lacking = WORD_BITS - self.update_bits
        updates, statistics = (
            self.updates | lacking // 16 << _LENGTH_BITS,
            self.statistics | lacking % 16 << _LENGTH_BITS,
        )
        return updates.to_bytes(4, "big") + statistics.to_bytes(4, "big")

    @classmethod
    def from_bytes(cls, content: bytes) -> Layout:
        """The layout of eight bytes.

        Raises:
            InvalidInputError: If it is none.
        """
        if len(content) != _LAYOUT_BYTES:
            raise InvalidInputError(f"expected a layout of {_LAYOUT_BYTES} bytes, got {len(content)}")
        first, second = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:], "big")
        high, updates = divmod(first, 1 << _LENGTH_BITS)
        low, statistics = divmod(second, 1 << _LENGTH_BITS)
        return cls(updates=updates, statistics=statistics, update_bits=WORD_BITS - 16 * high - low)

    def parts(self, payload: bytes | bytearray | memoryview) -> tuple[Ring64, Ring32]:
        """The two parts of a payload that is not packed, without copying; writable if the payload is.

        Args:
            payload: The 64-bit part and then the 32-bit part in whole words.
        """
        wide = np.frombuffer(payload, dtype="<u8", count=self.words_64)
        narrow = np.frombuffer(payload, dtype="<u4", count=self.words_32, offset=8 * self.words_64)
        return wide, narrow

    def numbers(self, wide: Ring64, narrow: Ring32) -> tuple[Ring64, Ring32]:
        """Both parts of an opened sum without their check words and without bits that did not travel."""
        numbers = narrow[: self.updates]
        return wide[: self.statistics], numbers & self._bits if self.is_packed else numbers

    def has_count(self, wide: Ring64, narrow: Ring32, *, survivors: int) -> bool:
        """Whether every check word of an opened sum holds the number of survivors."""
        counts = narrow[self.updates :] & self._bits
        return bool(np.all(wide[self.statistics :] == survivors) and np.all(counts == survivors))

    @property
    def _bits(self) -> np.uint32:
        return np.uint32(2**self.update_bits - 1)
