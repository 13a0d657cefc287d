"""Where a simulation works: its folder, its files, and what it was started with."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from experiments.phases import PhaseClock
from experiments.settings import SimulationSettings

if TYPE_CHECKING:
    from rich.console import Console

    from aggregator.report.drawing_process import DrawingProcess
    from aggregator.tracking import TrackingTarget

SETTINGS_FILE: Final = "settings.json"
REPORT_FILE: Final = "report.html"
AUDIT_FILE: Final = "audit.json"
SWEEP_FILE: Final = "sweep.json"
"""In the folder above, if this simulation is a job of a sweep."""
SUMMARY_FILE: Final = "summary.json"
COMMAND_FILE: Final = "command.txt"


@dataclass(frozen=True)
class Workspace:
    """Where a simulation works, and what it was started with.

    Args:
        output: The simulation's own folder.
        data: ``COHORTIUM_DATA``, for studies of downloaded records.
        console: Where progress is shown; ``None``: nowhere.
        today: Records dated later are implausible.
        phases: Measures how long what takes.
        drawing: Draws the report's figures; ``None``: they are drawn here.
    """

    output: Path
    data: Path | None
    console: Console | None
    today: dt.date
    phases: PhaseClock
    drawing: DrawingProcess | None = None

    def patients(self, seed: int) -> Path:
        """Folder of one seed's encoded patients."""
        return self.output / f"seed-{seed}" / "patients"


def tracking_target(settings: SimulationSettings, output: Path) -> TrackingTarget:
    """Where the runs are tracked: beside the run's results, or for all jobs of a sweep together beside the sweep's."""
    from aggregator.tracking import (
        TrackingTarget,  # and with it manifests; a simulation begins before they are imported
    )

    choice = settings.tracking
    in_sweep = (output.parent / SWEEP_FILE).is_file()
    return TrackingTarget.choose(
        choice.kind, uri=choice.uri, experiment=choice.experiment, output=output.parent if in_sweep else output
    )
