"""What a report shows of exact statistics, as data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from federation.documents import Document
from federation.statistics.result import Table

Count = Annotated[int, Field(ge=0)]


class ReportedAnalysis(Document):
    """An exact statistic of the study, as far as a page has room for it."""

    name: str
    """As in the manifest, and of its file in ``statistics/``."""
    kind: str
    """Of analysis; empty if there is no result."""
    patients: Count = 0
    sites: tuple[str, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict)
    """Sites that are not in the sums, and why."""
    figures: dict[str, float | None] = Field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    sums: Count = 0
    """That were taken."""
    reason: str = ""
    """Why there is no result."""
