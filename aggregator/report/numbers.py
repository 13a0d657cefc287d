"""Digits: how many a figure deserves, and how an estimate is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from aggregator.report.content import Estimate, SeedSpread, StudyReport
from aggregator.report.vocabulary import metric_of

_MANY_PATIENTS: Final = 1000
"""From here on, a third decimal is more than noise."""
_MINUS: Final = "−"
_SHORT_NOTE: Final = 18
_MOST_DECIMALS: Final = 4


@dataclass(frozen=True)
class Numbers:
    """Writes the figures of one report with as many digits as its size deserves.

    Args:
        report: Whose figures.
    """

    report: StudyReport

    def decimals(self, metric: str) -> int:
        """Decimals of a metric: two, or three with many test patients; by size in the outcome's own unit."""
        described = metric_of(metric)
        if described.in_outcome_unit:
            return _decimals_by_size(self._sizes())
        patients = sum(entry.test_patients or 0 for entry in self.report.participants)
        usual = (3 if patients >= _MANY_PATIENTS else 2) + described.extra_digits
        return max(usual, self._decimals_below_one(metric, usual))

    def number(self, value: float, metric: str) -> str:
        """A figure; differences around zero carry a sign."""
        text = f"{abs(value):.{self.decimals(metric)}f}"
        zero = not any(digit in text for digit in "123456789")
        if value < 0 and not zero:
            return _MINUS + text
        signed = metric_of(metric).higher_is_better is None and metric != "prevalence"
        return f"+{text}" if signed and not zero else text

    def estimate(self, estimate: Estimate | None, metric: str) -> Markup:
        """A figure with its interval on a second line, or the reason why there is none."""
        if estimate is None:
            return Markup('<span class="note">–</span>')
        if estimate.value is None:
            return Markup('<span class="note">{}</span>').format(estimate.note or "not defined")
        cell = Markup("<b>{}</b>").format(self.number(estimate.value, metric))
        interval = self.interval(estimate.lower, estimate.upper, metric)
        if interval:
            cell += Markup('<span class="interval">{}</span>').format(interval)
        if estimate.note:
            cell += Markup('<span class="note{}">{}</span>').format(_short(estimate.note), estimate.note)
        return cell

    def spread(self, spread: SeedSpread | None, metric: str) -> Markup:
        """A mean over seeds with its interval."""
        if spread is None:
            return self.estimate(None, metric)
        return self.estimate(Estimate(value=spread.mean, lower=spread.lower, upper=spread.upper), metric)

    def interval(self, lower: float | None, upper: float | None, metric: str) -> str:
        """Such as ``0.81 to 0.92``; empty without bounds."""
        if lower is None or upper is None:
            return ""
        return f"{self.number(lower, metric)} to {self.number(upper, metric)}"

    def round_number(self, value: float, metric: str) -> str:
        """A figure of one round: sites compute it on the scaled outcome, whose size is not that of its unit."""
        return f"{value:.3g}" if metric_of(metric).in_outcome_unit else self.number(value, metric)

    def _decimals_below_one(self, metric: str, usual: int) -> int:
        """Enough decimals that a figure below 1 is not shown as a perfect 1."""
        estimates = (setting.overall.get(metric) for setting in self.report.performance)
        values = [entry.value for entry in estimates if entry is not None and entry.value is not None]
        decimals = usual
        while decimals < _MOST_DECIMALS and any(value < 1 and round(value, decimals) == 1 for value in values):
            decimals += 1
        return decimals

    def _sizes(self) -> list[float]:
        """Figures in the unit of the outcome: all get the digits that the largest deserves."""
        return [
            abs(estimate.value)
            for setting in self.report.performance
            for name, estimate in setting.overall.items()
            if metric_of(name).in_outcome_unit and estimate.value is not None
        ]


def _short(note: str) -> str:
    """A class that keeps a few words on one line."""
    return " short" if len(note) <= _SHORT_NOTE else ""


def _decimals_by_size(sizes: Sequence[float]) -> int:
    """Three significant digits of the largest."""
    largest = max(sizes, default=0.0)
    return 2 if largest <= 0 else min(6, max(0, 2 - math.floor(math.log10(largest))))
