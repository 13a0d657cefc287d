"""A site's noisy answers: each release of an analysis is charged before it is computed, and computed once.

Asked again for the same release with the same question, after a restart or a lost message, the site gives the numbers of before
under new masks. Asked for it with another question, it refuses: two answers with noise of one release would be two releases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from federation.durable_files import read_whole, write_durably
from federation.errors import CheckpointError, PrivacyRefusedError
from federation.privacy.randomness import RandomStreams, fresh_streams
from federation.statistics.private_step import PrivateStep
from federation.statistics.requests import StepRequest
from federation.statistics.step import Columns
from federation.statistics.wide_sums import Words

_HASH_BYTES: Final = 32
_LARGEST: Final = 2**27


class Charges(Protocol):
    """Where releases are charged."""

    def reserve(self, step: PrivateStep, *, request: str) -> None:
        """Charge a release before its noise is drawn; the same one is charged once.

        Raises:
            BudgetExhaustedError: If the cap would be passed.
            PrivacyRefusedError: If the release was reserved for another request.
        """
        ...

    def answered(self, step: PrivateStep, *, released: str) -> None:
        """Note what may leave, once it is on the disk."""
        ...


@dataclass
class PrivateAnswers:
    """The site's memory of its noisy answers.

    Args:
        folder: Where they are kept, for the owner only; ``None``: in memory, in a simulation.
        charges: Where they are charged; ``None``: nowhere, in a simulation.
        streams: Of rounding and noise.
    """

    folder: Path | None = None
    charges: Charges | None = None
    streams: RandomStreams = field(default_factory=fresh_streams, repr=False)
    _known: dict[tuple[str, int], bytes] = field(default_factory=dict[tuple[str, int], bytes], init=False, repr=False)

    def words(self, request: StepRequest, step: PrivateStep, columns: Callable[[], Columns]) -> Words:
        """The answer to a release.

        Args:
            request: With the step; its number does not matter.
            step: The release.
            columns: Of the selection.

        Raises:
            PrivacyRefusedError: If the release was answered for another question.
            BudgetExhaustedError: If the ledger's cap would be passed.
        """
        asked = request.model_copy(update={"number": 1}).content_hash()
        known = self._read(step)
        if known is None:
            if self.charges is not None:
                self.charges.reserve(step, request=asked.hex())
            draws = self.streams.child("statistics", step.analysis, step.release)
            words = step.noisy_words(columns(), rounding=draws.stream("rounding"), noise=draws.stream("noise"))
            known = asked + words.astype("<i8").tobytes()
            self._keep(step, known)
        if known[:_HASH_BYTES] != asked:
            raise PrivacyRefusedError(
                f"expected the question that release {step.release} of {step.analysis} was answered for, got another",
                remedy="the coordinator keeps opened sums and goes on from them; a new analysis needs a new version of the study",
                reason="answered_otherwise",
            )
        if self.charges is not None:
            self.charges.answered(step, released=hashlib.sha256(known).hexdigest())
        words = np.frombuffer(known[_HASH_BYTES:], dtype="<i8")
        if len(words) != step.num_words:
            raise CheckpointError(
                f"expected {step.num_words} numbers in a kept answer, got {len(words)}",
                remedy="restore the site's folder",
            )
        return words.astype(np.int64)

    def _read(self, step: PrivateStep) -> bytes | None:
        known = self._known.get((step.analysis, step.release))
        if known is None and self.folder is not None and (path := self._path(step)).is_file():
            known = read_whole(path, largest=_LARGEST)
        return known

    def _keep(self, step: PrivateStep, content: bytes) -> None:
        if self.folder is not None:
            write_durably(self._path(step), content, secret=True)
        else:
            self._known[step.analysis, step.release] = content

    def _path(self, step: PrivateStep) -> Path:
        return (self.folder or Path()) / f"{step.analysis}.{step.release}.words"
