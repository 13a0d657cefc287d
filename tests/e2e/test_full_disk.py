"""Acceptance test 28 for coordinator and agents: the disk fails at any durable write, the study stops, and a clean restart ends as undisturbed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federation.errors import CohortiumError
from tests.e2e.test_engines import inline
from tests.e2e.test_kill import check_ledgers, study

pytestmark = [pytest.mark.e2e]


class FailingDisk:
    """Lets the ``at``-th call of one kind fail; counts them otherwise.

    Args:
        kind: ``space`` (a new file), ``medium`` (an fsync) or ``read-only`` (a rename).
        at: Which call, counted from one; 0: none.
    """

    def __init__(self, kind: str, at: int = 0) -> None:
        self.kind, self.at, self.calls = kind, at, 0

    def _count(self, code: int) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise OSError(code, os.strerror(code))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Into ``os`` and ``Path``, which is all that durable writes use."""
        if self.kind == "medium":
            patch.setattr(os, "fsync", self._before(os.fsync, errno.EIO))
        elif self.kind == "read-only":
            patch.setattr(Path, "replace", self._before(Path.replace, errno.EROFS))
        else:
            really = os.open

            def opening(path: Any, flags: int, *more: Any, **named: Any) -> int:
                if flags & os.O_EXCL:
                    self._count(errno.ENOSPC)
                return really(path, flags, *more, **named)

            patch.setattr(os, "open", opening)

    def _before(self, really: Callable[..., Any], code: int) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._count(code)
            return really(*arguments, **named)

        return call


def _run(folder: Path, disk: FailingDisk) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        return inline(study(), folder)


def _check(folder: Path, kind: str, points: Callable[[int], range]) -> None:
    counted = FailingDisk(kind)
    whole = _run(folder / "whole", counted)
    assert counted.calls > 20
    for at in points(counted.calls):
        place = folder / str(at)
        with pytest.raises((OSError, CohortiumError)):
            _run(place, FailingDisk(kind, at))
        resumed = inline(study(), place)
        assert resumed.parameters.tobytes() == whole.parameters.tobytes(), f"{kind} at {at}"
        check_ledgers(place)


@pytest.mark.parametrize("kind", ["space", "medium", "read-only"])
def test_a_disk_that_fails_at_a_few_writes_costs_nothing(tmp_path: Path, kind: str) -> None:
    _check(tmp_path, kind, lambda calls: range(calls // 3, calls, calls // 3))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["space", "medium", "read-only"])
def test_a_disk_that_fails_at_every_write_costs_nothing(tmp_path: Path, kind: str) -> None:
    _check(tmp_path, kind, lambda calls: range(1, calls + 1))
