"""Names of encoded features without writing out one for each of an image's pixels.

>>> names = FeatureNames((("age",), ("scan", 65536)))
>>> len(names), names[0], names[2], names.index("scan[65535]"), "scan[65536]" in names
(65537, 'age', 'scan[1]', 65536, False)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, overload

Block = tuple[str] | tuple[str, int]
"""One feature's name, or an array's name and its number of features."""
_ELEMENT: Final = re.compile(r"(.+)\[(\d+)\]")


class FeatureNames(Sequence[str]):
    """A sequence of names, kept as blocks.

    Args:
        blocks: In the order of the features.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks: tuple[Block, ...] = tuple(blocks)
        self._ends = tuple(accumulate(_length(block) for block in self.blocks))
        self._starts = {block[0]: end - _length(block) for block, end in zip(self.blocks, self._ends, strict=True)}
        self._lengths = {block[0]: block[1] for block in self.blocks if len(block) > 1}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        for block, end in zip(self.blocks, self._ends, strict=True):
            if 0 <= place < end:
                return block[0] if len(block) == 1 else f"{block[0]}[{place - end + _length(block)}]"
        raise IndexError(index)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._place(name) is not None

    def index(self, value: str, start: int = 0, stop: int | None = None) -> int:
        """Place of a feature.

        Raises:
            ValueError: If there is none of that name.
        """
        place = self._place(value)
        if place is None or not start <= place < (len(self) if stop is None else stop):
            raise ValueError(value)
        return place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureNames) and self.blocks == other.blocks

    def __hash__(self) -> int:
        return hash(self.blocks)

    def __repr__(self) -> str:
        return f"FeatureNames({self.blocks!r})"

    def _place(self, name: str) -> int | None:
        if name in self._starts and name not in self._lengths:
            return self._starts[name]
        found = _ELEMENT.fullmatch(name)
        if found is None or int(found[2]) >= self._lengths.get(found[1], 0):
            return None
        return self._starts[found[1]] + int(found[2])


def _length(block: Block) -> int:
    return 1 if len(block) == 1 else block[1]
