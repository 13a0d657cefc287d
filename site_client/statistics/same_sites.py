"""All sums of a study's statistics are over the same sites: the difference of two sums would be one site's own numbers.

What counts is what was opened. A site that has answered a request to unmask is bound to its set of survivors; from then on it
signs and answers for no other. The set is on the disk before the answer leaves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.durable_files import read_whole, write_durably
from federation.errors import CheckpointError
from federation.protocol.secure_sum.terms import FEWEST_SITES, KeyBatch
from federation.protocol.secure_sum.wire import refused
from federation.study.secure_sums import STATISTICS

_LARGEST: Final = 2**20


@dataclass(frozen=True)
class SameSites:
    """The site's memory of whom its statistics were summed with.

    Args:
        path: A JSON file; made with the first answer.
        groups: Of sites about which the study has a line of its own, as places among the members: none may be of one or two.
    """

    path: Path
    groups: tuple[frozenset[int], ...] = ()

    def check(self, batch: KeyBatch, survivors: tuple[int, ...], *, opens: bool) -> None:
        """Refuse another set of survivors than the one that was opened first.

        Args:
            batch: Keys of sums for other purposes are let be.
            survivors: Of a sum, as places in the roster.
            opens: Whether the answer that is about to leave opens the sum.

        Raises:
            SecureSumRefusedError: ``other_sites`` or ``small_group``.
            CheckpointError: If the memory cannot be read.
        """
        if batch.purpose != STATISTICS:
            return
        left = [len(group.intersection(survivors)) for group in self.groups]
        if any(0 < number < FEWEST_SITES for number in left):
            raise refused(
                "small_group",
                f"expected at least {FEWEST_SITES} sites of every group of the study in a sum, got {min(filter(None, left))}",
            )
        wanted = sorted(survivors)
        known = self._known()
        if known is not None and known != wanted:
            raise refused(
                "other_sites",
                f"expected statistics over the same {len(known)} sites as before, got {len(wanted)} others",
            )
        if known is None and opens:
            write_durably(self.path, json.dumps(wanted).encode(), secret=True)

    def _known(self) -> list[int] | None:
        if not self.path.is_file():
            return None
        try:
            found = json.loads(read_whole(self.path, largest=_LARGEST))
        except ValueError:
            found = None
        if not isinstance(found, list) or not all(isinstance(place, int) for place in found):
            raise CheckpointError(
                f"expected the sites of earlier statistics in {self.path.name}, got another file",
                remedy="restore the study's folder as it was",
            )
        return found
