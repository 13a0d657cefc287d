"""Counts of an import over recordings: what each reason left, and the table of the windows that are used."""

from __future__ import annotations

from dataclasses import dataclass, field

from federation.documents import Document
from site_client.signals.recording_windows import RecordingWindows


class ImportStep(Document):
    """How much was left after a step."""

    what: str
    windows: int
    patients: int


@dataclass
class Tally:
    """Grows recording by recording.

    Args:
        offered: Candidate windows.
        implausible: Samples that became gaps.
        not_used: Reason to number of windows.
        left: Reason to the patients who have windows left after it.
        offering: Patients with candidate windows.
        table: Column to its cells.
        unusable: Recordings that could not be used.
    """

    offered: int = 0
    implausible: int = 0
    not_used: dict[str, int] = field(default_factory=dict[str, int])
    left: dict[str, set[str]] = field(default_factory=dict[str, set[str]], repr=False)
    offering: set[str] = field(default_factory=set[str], repr=False)
    table: dict[str, list[str]] = field(default_factory=dict[str, list[str]], repr=False)
    unusable: int = 0

    def count(self, patient: str, found: RecordingWindows) -> None:
        """Add what one recording gave."""
        self.offered += found.candidates
        self.implausible += found.implausible_samples
        if found.candidates:
            self.offering.add(patient)
        remaining = found.candidates
        for reason, number in found.not_used.items():
            self.not_used[reason] = self.not_used.get(reason, 0) + number
            remaining -= number
            kept = self.left.setdefault(reason, set())
            if remaining:
                kept.add(patient)

    def add(self, cells: dict[str, str]) -> None:
        """Add one window's row; every row has the same columns."""
        for name, cell in cells.items():
            self.table.setdefault(name, []).append(cell)

    def steps(self) -> tuple[ImportStep, ...]:
        """The attrition table."""
        left = self.offered
        steps = [ImportStep(what="candidate windows", windows=left, patients=len(self.offering))]
        for reason, number in self.not_used.items():
            left -= number
            steps.append(ImportStep(what=f"without: {reason}", windows=left, patients=len(self.left[reason])))
        return tuple(steps)
