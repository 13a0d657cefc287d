"""Which patients a site's earlier answers were about, so that no two answers differ by a few patients.

Who asks for the mean of all patients and then for that of all but one learns about the one. The site keeps, for itself, a keyed
hash of every patient of each selection that it answered for; a new selection whose members differ from an earlier one's by fewer
patients than the threshold is refused. The same selection again is fine: its answers differ by nobody.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.durable_files import write_durably
from federation.errors import CheckpointError, PrivacyRefusedError
from federation.statistics.requests import StatisticsTerms
from site_client.division import digests
from site_client.patients import Records

_SUFFIX: Final = ".patients"
_MOST_SELECTIONS: Final = 2000
_WORD_BYTES: Final = 8

Members = NDArray[np.uint64]
"""Sorted hashes of the patients of a selection."""


@dataclass(frozen=True)
class EarlierSelections:
    """The site's memory of its answers.

    Args:
        folder: For the owner only; a file of hashes per selection.
        threshold: Fewest patients by which two selections may differ.
    """

    folder: Path
    threshold: int
    key: str | None = None
    """Of the hashes, the same for all studies of a site; ``None``: the split key of the terms."""

    def admit(self, records: Records, *, terms: StatisticsTerms) -> None:
        """Remember a selection before anything about it is answered, or refuse it.

        Args:
            records: The selected ones.
            terms: Supplies the key of the hashes.

        Raises:
            PrivacyRefusedError: If an earlier selection has nearly the same patients.
        """
        members = members_of(records, split_key=self.key or terms.cohort.split_key)
        path = self.folder / (hashlib.sha256(members.tobytes()).hexdigest() + _SUFFIX)
        if path.is_file():
            return
        known = sorted(self.folder.glob(f"*{_SUFFIX}"))
        if len(known) >= _MOST_SELECTIONS:
            raise PrivacyRefusedError(
                f"expected at most {_MOST_SELECTIONS} selections of a study, got another",
                remedy="make a version of the study, with the site's approval",
                reason="too_many_selections",
            )
        for earlier in known:
            differing = len(np.setxor1d(members, _read(earlier), assume_unique=True))
            if 0 < differing < self.threshold:
                raise PrivacyRefusedError(
                    f"expected a selection that differs from every earlier one by nobody or by at least {self.threshold} "
                    "patients of this site, got one that differs by fewer",
                    remedy="use the selection of before; `complete=[...]` gives analyses of different variables the same patients",
                    reason="differencing",
                    site=records.site,
                )
        write_durably(path, members.tobytes(), secret=True)


def members_of(records: Records, *, split_key: str) -> Members:
    """Sorted hashes of the patients."""
    patients = np.unique(records.patient_keys)
    return np.unique(digests(patients, split_key=split_key, purpose="order"))


def _read(path: Path) -> Members:
    content = path.read_bytes()
    if len(content) % _WORD_BYTES:
        raise CheckpointError(
            f"expected whole hashes in {path.name}, got other bytes", remedy="restore the site's memory of its answers"
        )
    return np.frombuffer(content, dtype=np.uint64)
