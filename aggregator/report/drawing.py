"""All figures of a report. Importing this imports matplotlib."""

from __future__ import annotations

from aggregator.report.content import StudyReport
from aggregator.report.curve_figures import curve_figures
from aggregator.report.picture import Picture
from aggregator.report.round_figures import round_figures
from aggregator.report.site_figures import site_figures


def pictures(report: StudyReport) -> dict[str, tuple[Picture, ...]]:
    """All figures of a report, by section: ``convergence``, ``performance``, ``sites``."""
    return {
        "convergence": round_figures(report),
        "performance": curve_figures(report),
        "sites": site_figures(report),
    }
