"""The latest opened sum of each purpose, kept until the next: a restart needs its survivors no more.

A sum of updates is opened before its round is committed, with an evaluation in between. Without a copy, whoever restarts there
would have to ask the same survivors again, who may be gone by then. A file holds what the aggregator learned from the round, and
no site's numbers; it is for its owner only. Sums of evaluations are not kept: the study releases less than they hold.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load, save

from aggregator.asked_sums import read_record, write_record
from aggregator.sum_requests import OpenedSum, SumRequest
from federation.durable_files import write_durably
from federation.protocol.secure_sum.opening import SecureSum

_NUMBERS: Final = "opened.safetensors"
_RECORD: Final = "opened.json"


class OpenedSums:
    """Opened sums in a folder: the latest of each purpose.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, request: SumRequest, opened: OpenedSum) -> None:
        """Keep a sum in place of the one before it. The record is written last: without it there is no sum."""
        total = opened.total
        content = save({"updates": total.updates, "statistics": total.statistics})
        record: dict[str, Any] = {
            "study": request.content.header.study,
            "round": request.round_number,
            "content": request.content.content_hash().hex(),
            "survivors": list(total.survivors),
            "lost": list(total.lost),
            "dropouts": dict(opened.dropouts),
            "numbers": hashlib.sha256(content).hexdigest(),
        }
        write_durably(self._path(request, _NUMBERS), content, secret=True)
        write_record(self._path(request, _RECORD), record)

    def find(self, request: SumRequest) -> OpenedSum | None:
        """The sum of just this request, if it was opened; ``None`` if not, or if its files are not as they were written."""
        record = self._record(request)
        if record is None:
            return None
        content = self._path(request, _NUMBERS).read_bytes()
        if hashlib.sha256(content).hexdigest() != record["numbers"]:
            return None  # a crash between the two files: the sum after this one, not yet committed to
        arrays = load(content)
        total = SecureSum(
            updates=arrays["updates"].astype(np.uint32),
            statistics=arrays["statistics"].astype(np.uint64),
            survivors=tuple(record["survivors"]),
            lost=tuple(record["lost"]),
        )
        return OpenedSum(total, dict(record["dropouts"]))

    def _record(self, request: SumRequest) -> dict[str, Any] | None:
        path = self._path(request, _RECORD)
        if not path.is_file() or not self._path(request, _NUMBERS).is_file():
            return None
        record = read_record(path)
        wanted = (request.content.header.study, request.round_number, request.content.content_hash().hex())
        is_it = record is not None and (record["study"], record["round"], record["content"]) == wanted
        return record if is_it else None

    def _path(self, request: SumRequest, ending: str) -> Path:
        return self._folder / f"{request.purpose}.{ending}"
