"""Memory is used again for one purpose of one thread, and never shared."""

from __future__ import annotations

from threading import Thread

import torch

from federation.privacy import kept_memory as module
from federation.privacy.kept_memory import kept_memory


def test_memory_is_the_same_for_a_purpose_and_another_for_others() -> None:
    first = kept_memory("clipped sum", 100)
    assert kept_memory("clipped sum", 50).data_ptr() == first.data_ptr()
    assert kept_memory("clipped sum", 50).shape == (50,)
    others = (kept_memory("normals", 100), kept_memory("clipped sum", 100, dtype=torch.float32))
    assert first.data_ptr() not in {other.data_ptr() for other in others}
    assert others[1].dtype == torch.float32


def test_memory_that_is_too_short_is_replaced() -> None:
    size = kept_memory("normals", 10).untyped_storage().size() // 8 + 1
    assert kept_memory("normals", size).shape == (size,)


def test_threads_share_nothing() -> None:
    own, found = kept_memory("released", 10).data_ptr(), list[int]()
    thread = Thread(target=lambda: found.append(kept_memory("released", 10).data_ptr()))
    thread.start()
    thread.join()
    assert found != [own]


def test_very_large_memory_is_not_kept() -> None:
    size = module.MOST_NUMBERS + 1
    first, second = kept_memory("normals", size), kept_memory("normals", size)
    assert first.data_ptr() != second.data_ptr()
