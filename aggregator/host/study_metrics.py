"""Launched studies as lines of Prometheus's text format."""

from __future__ import annotations

from aggregator.host.home_paths import HostLayout
from aggregator.host.study_place import launched_studies
from aggregator.host.study_status import StudyStatus, read_status
from federation.errors import CohortiumError


def study_metrics(layout: HostLayout) -> list[str]:
    """Rounds, epsilon and missing sites of each launched study."""
    lines = [
        "# TYPE cohortium_study_rounds_complete gauge",
        "# TYPE cohortium_study_rounds gauge",
        "# TYPE cohortium_study_phase gauge",
        "# TYPE cohortium_study_epsilon_spent gauge",
        "# TYPE cohortium_study_site_missing gauge",
    ]
    for place in launched_studies(layout):
        try:
            status = read_status(place.status)
        except CohortiumError:
            continue  # health says what is wrong with files; figures are of what can be read
        if status is not None:
            lines += _lines_of(status)
    return lines


def _lines_of(status: StudyStatus) -> list[str]:
    name = f'study="{status.study}",version="{status.version}"'
    return [
        f"cohortium_study_rounds_complete{{{name}}} {status.rounds_complete}",
        f"cohortium_study_rounds{{{name}}} {status.rounds}",
        f'cohortium_study_phase{{{name},phase="{status.phase}"}} 1',
        *(
            f'cohortium_study_epsilon_spent{{{name},site="{site}"}} {epsilon!r}'
            for site, epsilon in sorted(status.epsilon_spent.items())
        ),
        *(f'cohortium_study_site_missing{{{name},site="{site}"}} 1' for site in sorted(status.missing)),
    ]
