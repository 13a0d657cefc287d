"""The study's memory of how many patients its analyses were of, against differencing at the centre.

The total of a new selection must equal an earlier total or differ from it by at least the threshold, whatever the selections are:
that two of them are nested cannot be seen from sums, so it is assumed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.durable_files import write_durably
from federation.errors import CheckpointError, PrivacyRefusedError

_LARGEST_FILE: Final = 2**20


@dataclass(frozen=True)
class EarlierCounts:
    """Totals that were shown.

    Args:
        path: A JSON file; made with the first total.
        threshold: Fewest patients by which two totals may differ.
    """

    path: Path
    threshold: int

    def admit(self, patients: int) -> None:
        """Remember a total before anything else is computed, or refuse the analysis.

        Raises:
            PrivacyRefusedError: If an earlier total differs by fewer patients than the threshold.
            CheckpointError: If the memory cannot be read.
        """
        known = self._known()
        if any(0 < abs(patients - earlier) < self.threshold for earlier in known):
            raise PrivacyRefusedError(
                f"expected a number of patients that differs from every earlier analysis by 0 or at least {self.threshold}, "
                "got one that differs by fewer: the difference of the answers would tell about those few",
                remedy="use a selection of before; `complete=[...]` gives analyses of different variables the same patients",
                reason="differencing",
            )
        if patients not in known:
            write_durably(self.path, json.dumps({"patients": sorted({*known, patients})}).encode())

    def _known(self) -> list[int]:
        if not self.path.is_file():
            return []
        with self.path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
        try:
            totals = json.loads(content)["patients"] if len(content) <= _LARGEST_FILE else None
        except (ValueError, KeyError, TypeError):
            totals = None
        if not isinstance(totals, list) or not all(isinstance(total, int) for total in totals):
            raise CheckpointError(
                f"expected the totals of earlier analyses in {self.path}, got another file",
                remedy="restore it; without it, differences of answers could tell about single patients",
            )
        return totals
