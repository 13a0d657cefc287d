"""What a reader makes of one file: a picture, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

LARGEST_FILE: Final = 512 * 2**20
"""Bytes of the largest file that is read."""
LARGEST_PICTURE: Final = 2**26
"""Values of the largest picture that is decoded: a header must not make a site allocate what it likes."""


@dataclass(frozen=True)
class Picture:
    """One decoded picture.

    Args:
        values: ``[C, H, W]`` float32: in the unit that the file declares, brighter is more.
        done: What was done to the stored numbers, in words and in order.
    """

    values: NDArray[np.float32] = field(repr=False)
    done: tuple[str, ...]


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be used.

    Args:
        reason: In words that fit many files and hold nothing of this one, but for a UID of the standard.
    """

    reason: str
