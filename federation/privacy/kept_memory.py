"""Memory that a private step uses again.

A system hands out new memory page by page, when it is first written: for a million numbers that takes as long as adding up the
gradients that go there. So what every step of every round overwrites is kept, for each thread by itself.
"""

from __future__ import annotations

import threading
from typing import Final, Literal

import torch
from torch import Tensor

Purpose = Literal["clipped sum", "normals", "half of the normals", "released"]
MOST_NUMBERS: Final = 2**23
"""Larger memory is not kept: a process would hold it until it ends."""


class _Kept(threading.local):
    """What a thread keeps."""

    def __init__(self) -> None:
        self.tensors: dict[tuple[Purpose, torch.dtype], Tensor] = {}


_KEPT: Final = _Kept()


def kept_memory(purpose: Purpose, size: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Memory with whatever was left there: the caller's until this thread asks for the same purpose again.

    Args:
        purpose: What it is for; two purposes never share memory.
        size: Numbers.
        dtype: Of the numbers.

    Returns:
        ``[size]``, not initialised.
    """
    if size > MOST_NUMBERS:
        return torch.empty(size, dtype=dtype)
    found = _KEPT.tensors.get((purpose, dtype))
    if found is None or found.numel() < size:
        found = _KEPT.tensors[purpose, dtype] = torch.empty(size, dtype=dtype)
    return found[:size]
