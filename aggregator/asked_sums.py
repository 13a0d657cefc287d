"""What is kept of a sum once its survivors are asked for their shares: from then on it is this sum of the round or none.

The masked sum is safe to store, since alone it says nothing. With it a restart asks the survivors for their shares again and for
nothing else, and as many answers as the threshold open it, whoever else is gone. Written before the first question leaves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aggregator.sum_requests import SumRequest
from aggregator.witnessing import HeadKeeper
from federation.durable_files import write_durably
from federation.errors import CheckpointError, SecureSumRefusedError
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.secure_sum.collecting import BatchReady
from federation.protocol.secure_sum.opening import AwaitingAnswers
from federation.protocol.secure_sum.terms import KeyBatch


@dataclass(frozen=True)
class AskedSum:
    """A sum whose survivors were asked.

    Args:
        survivors: Names of the sites in it.
        question: What they were asked: the signatures under their set.
        heads: Of the ledgers that paid for it, by survivor.
        masked_sha256: Of the masked sum.
    """

    survivors: tuple[str, ...]
    question: bytes = field(repr=False)
    heads: Mapping[str, LedgerHead]
    masked_sha256: str

    @classmethod
    def read(cls, path: Path) -> AskedSum:
        """The record in a file.

        Raises:
            CheckpointError: If it is not as it was written.
        """
        content = read_record(path)
        if content is None:
            raise CheckpointError(
                f"expected the record of a sum whose survivors were asked in {path}, got other bytes",
                remedy="restore the file: without it nobody knows which sum of the round may be opened",
            )
        heads = {site: LedgerHead.from_data(head, error=CheckpointError) for site, head in content["heads"].items()}
        survivors = tuple(content["survivors"])
        return cls(survivors, bytes.fromhex(content["question"]), heads, content["masked_sha256"])

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        content: dict[str, Any] = {
            "survivors": list(self.survivors),
            "question": self.question.hex(),
            "heads": {site: head.as_data() for site, head in self.heads.items()},
            "masked_sha256": self.masked_sha256,
        }
        write_record(path, content)

    def show_to(self, keeper: HeadKeeper | None) -> None:
        """Have the ledgers' heads witnessed that came with this sum, as when it came."""
        if keeper is not None:
            for site, head in self.heads.items():
                keeper.accept(site, head)


class AskedSums:
    """The sums of a folder whose survivors were asked.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, request: SumRequest, batch: KeyBatch) -> Path:
        """Of the record of a sum: it is there once its survivors were asked."""
        return self._folder / f"{request.purpose}-{request.round_number:06d}-{batch.attempt}.asked"

    def keep(self, request: SumRequest, answering: AwaitingAnswers, question: bytes) -> None:
        """Keep a sum before its survivors are asked; its masked numbers take the place of those of the sum before it."""
        masked = answering.wide.tobytes() + answering.narrow.tobytes()
        write_durably(self._masked(request), masked, secret=True)
        survivors = answering.ready.terms.names(answering.survivors)
        heads = {} if request.keeper is None else request.keeper.heads
        record = AskedSum(
            survivors=survivors,
            question=question,
            heads={site: heads[site] for site in survivors if site in heads},
            masked_sha256=hashlib.sha256(masked).hexdigest(),
        )
        record.write(self.path(request, answering.ready.batch))

    def restore(self, request: SumRequest, ready: BatchReady, announcement: bytes) -> AwaitingAnswers | None:
        """The sum as it was before the first answer; ``None``: its numbers are not here, the sites have to send them again."""
        record = AskedSum.read(self.path(request, ready.batch))
        path, layout = self._masked(request), request.layout
        masked = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(masked).hexdigest() != record.masked_sha256:
            return None
        end = 8 * layout.words_64
        try:
            return AwaitingAnswers.again(
                ready,
                round_number=request.round_number,
                layout=layout,
                model_hash=request.content.content_hash(),
                announcement=announcement,
                wide=np.frombuffer(masked[:end], dtype="<u8").copy(),
                narrow=np.frombuffer(masked[end:], dtype="<u4").copy(),
            )
        except SecureSumRefusedError:
            return None

    def _masked(self, request: SumRequest) -> Path:
        return self._folder / f"{request.purpose}.masked"


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with its digest, whole or not at all."""
    write_durably(path, json.dumps({**content, "sha256": _digest(content)}).encode(), secret=True)


def read_record(path: Path) -> dict[str, Any] | None:
    """What :func:`write_record` wrote; ``None`` if these are other bytes."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        is_whole = content.pop("sha256") == _digest(content)
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return content if is_whole else None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
