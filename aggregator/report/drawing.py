"""All figures of a report. Importing this imports matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aggregator.report.content import StudyReport
from aggregator.report.curve_figures import curve_figures
from aggregator.report.picture import Picture
from aggregator.report.round_figures import round_figures
from aggregator.report.site_figures import site_figures

SECTIONS: Final[dict[str, Callable[[StudyReport], tuple[Picture, ...]]]] = {
    "convergence": round_figures,
    "performance": curve_figures,
    "sites": site_figures,
}
"""What draws each section's figures."""


def pictures(report: StudyReport) -> dict[str, tuple[Picture, ...]]:
    """All figures of a report, by section."""
    return {name: draw(report) for name, draw in SECTIONS.items()}
