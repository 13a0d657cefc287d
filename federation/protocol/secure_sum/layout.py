"""Where things lie in a masked vector: two rings, and check words behind the numbers of each.

A contribution has *statistics* modulo 2**64 and *updates* modulo 2**32; either may be empty. Every site writes the
constant 1 into the check words, so in the sum they hold the number of survivors. They show that all masks cancelled,
that is, that keys, model and layout were the same everywhere: a mask that is left over makes each of them uniform, and
all of them right with probability 2**-128. They do not show that a site's numbers are true; nothing in a masked sum does.
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

CHECK_WORDS_32: Final = 4
CHECK_WORDS_64: Final = 2
_MOST_NUMBERS: Final = 2**28
_LAYOUT_BYTES: Final = 8


@dataclass(frozen=True)
class Layout:
    """How many numbers a contribution has. Public, and the same at every site.

    Args:
        updates: Numbers modulo 2**32.
        statistics: Numbers modulo 2**64.

    Raises:
        InvalidInputError: If there are none, or more than 2**28.
    """

    updates: int
    statistics: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.updates <= _MOST_NUMBERS and 0 <= self.statistics <= _MOST_NUMBERS):
            raise InvalidInputError(f"expected 0 to {_MOST_NUMBERS} numbers, got {self.updates} and {self.statistics}")
        if self.updates + self.statistics == 0:
            raise InvalidInputError("expected something to sum, got an empty layout")

    @property
    def words_32(self) -> int:
        """Words of the 32-bit part, check words included."""
        return self.updates + CHECK_WORDS_32 if self.updates else 0

    @property
    def words_64(self) -> int:
        """Words of the 64-bit part, check words included."""
        return self.statistics + CHECK_WORDS_64 if self.statistics else 0

    @property
    def payload_bytes(self) -> int:
        """Bytes of the masked vector: the 64-bit part, then the 32-bit part."""
        return 8 * self.words_64 + 4 * self.words_32

    def to_bytes(self) -> bytes:
        """Eight bytes: both lengths, big end first."""
        return self.updates.to_bytes(4, "big") + self.statistics.to_bytes(4, "big")

    @classmethod
    def from_bytes(cls, content: bytes) -> Layout:
        """The layout of eight bytes.

        Raises:
            InvalidInputError: If it is none.
        """
        if len(content) != _LAYOUT_BYTES:
            raise InvalidInputError(f"expected a layout of {_LAYOUT_BYTES} bytes, got {len(content)}")
        return cls(updates=int.from_bytes(content[:4], "big"), statistics=int.from_bytes(content[4:], "big"))

    def parts(self, payload: bytes | bytearray | memoryview) -> tuple[Ring64, Ring32]:
        """The two parts of a payload, without copying; writable if the payload is.

        Args:
            payload: As many bytes as :attr:`payload_bytes`.
        """
        wide = np.frombuffer(payload, dtype="<u8", count=self.words_64)
        narrow = np.frombuffer(payload, dtype="<u4", count=self.words_32, offset=8 * self.words_64)
        return wide, narrow

    def numbers(self, wide: Ring64, narrow: Ring32) -> tuple[Ring64, Ring32]:
        """Both parts without their check words."""
        return wide[: self.statistics], narrow[: self.updates]

    def has_count(self, wide: Ring64, narrow: Ring32, *, survivors: int) -> bool:
        """Whether every check word of an opened sum holds the number of survivors."""
        return bool(np.all(wide[self.statistics :] == survivors) and np.all(narrow[self.updates :] == survivors))
