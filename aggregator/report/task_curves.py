"""Curves of quantiles and survival in a report's data; see :mod:`aggregator.report.content`."""

from __future__ import annotations

from typing import Literal

from federation.documents import Document


class Line(Document):
    """A curve as points."""

    x: tuple[float, ...]
    y: tuple[float, ...]


class QuantileCurves(Document):
    """Share of outcomes at or below each predicted quantile, against the quantile's level."""

    kind: Literal["quantile"] = "quantile"
    setting: str
    coverage: Line


class SurvivalCurves(Document):
    """Event-free survival over the study's times, in the outcome's unit."""

    kind: Literal["survival"] = "survival"
    setting: str
    unit: str
    observed: Line
    """Kaplan and Meier's curve of all records."""
    predicted: Line | None
    """Mean predicted survival; ``None`` for relative hazards, which predict none."""
    by_risk: tuple[Line, ...]
    """Kaplan and Meier's curves of thirds by predicted risk, lowest first; empty with too few records."""
