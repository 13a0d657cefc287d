"""Performance from the sum of the sites' noisy counts: overall, by subgroup, calibration and decision curve.

All of it is derived from what the sites released, so it costs no further privacy. How the errors are found is said in
:mod:`federation.models.noisy_intervals`.
"""

from __future__ import annotations

import math

import numpy as np

from federation.documents import Document
from federation.models.noisy_intervals import (
    CURVES,
    MINIMUM_CELL,
    TOO_FEW,
    NoisyEstimate,
    NoisyTable,
    estimates,
    too_small,
)
from federation.models.noisy_metrics import OVERALL, FloatArray, NoisyCounts, group_of
from federation.models.noisy_statistics import NET_BENEFIT, TREAT_ALL, bin_centres, nearest_non_negative


class SubgroupPerformance(Document):
    """Performance on the records of one level of one variable."""

    variable: str
    level: str
    metrics: dict[str, NoisyEstimate] = {}
    left_out: dict[str, str] = {}
    """Figure to the reason why it is not shown; ``count`` if nothing is."""


class NoisyCalibrationBin(Document):
    """Neighbouring score bins, merged until their count stands clear of its noise."""

    lower: float
    upper: float
    """Of the scores."""
    predicted: float
    """Mean of the bins' centres, by non-negative counts."""
    observed: float
    error: float
    """Standard error of ``observed``: noise and sampling."""
    count: float


class NetBenefit(Document):
    """One point of the decision curve."""

    threshold: float
    value: NoisyEstimate
    treat_all: NoisyEstimate


class NoisyPerformance(Document):
    """All that a paid evaluation says about a model."""

    num_sites: int
    """Whose tables are in the sum."""
    cell_error: float
    """Standard deviation of the noise of one count of the sum."""
    score_bins: int
    """Scores count as the centre of their bin, so Brier score and log loss may be off by about 1 / (12 bins²)."""
    metrics: dict[str, NoisyEstimate]
    left_out: dict[str, str] = {}
    subgroups: tuple[SubgroupPerformance, ...] = ()
    calibration: tuple[NoisyCalibrationBin, ...] = ()
    net_benefit: tuple[NetBenefit, ...] = ()

    def values(self) -> dict[str, float]:
        """Metric to its estimate."""
        return {name: estimate.value for name, estimate in self.metrics.items()}

    def errors(self) -> dict[str, float]:
        """Metric to the error that noise adds."""
        return {name: estimate.noise_error for name, estimate in self.metrics.items()}


def derive_performance(counts: NoisyCounts, *, max_records_per_patient: int = 1) -> NoisyPerformance:
    """What the noisy counts say, and how well they say it.

    Args:
        counts: Summed over the sites.
        max_records_per_patient: Of the manifest; records of a patient are not independent, so sampling errors are widened
            as if they were copies.
    """

    def table(group: str) -> NoisyTable:
        return NoisyTable(counts.layout, counts.groups[group], counts.variance, max_records_per_patient, group)

    found, left_out = estimates(table(OVERALL))
    curve = {name: found.pop(name) for name in list(found) if name.startswith(CURVES)}
    return NoisyPerformance(
        num_sites=counts.num_sites,
        cell_error=math.sqrt(counts.variance),
        score_bins=counts.layout.score_bins,
        metrics=found,
        left_out={name: reason for name, reason in left_out.items() if not name.startswith(CURVES)},
        subgroups=tuple(
            _subgroup(table(group_of(variable, level)), variable, level)
            for variable, levels in counts.layout.subgroups
            for level in levels
        ),
        calibration=_calibration(table(OVERALL)) if "prevalence" in found else (),
        net_benefit=tuple(
            NetBenefit(
                threshold=float(name.removeprefix(NET_BENEFIT)),
                value=estimate,
                treat_all=curve[TREAT_ALL + name.removeprefix(NET_BENEFIT)],
            )
            for name, estimate in curve.items()
            if name.startswith(NET_BENEFIT)
        ),
    )


def _subgroup(table: NoisyTable, variable: str, level: str) -> SubgroupPerformance:
    """A row is shown if its noisy count is large enough.

    Whoever subtracts the other rows from the total gets a noisy count again, which the noise protects like any other, so
    no second row has to be hidden to protect the first.
    """
    if table.counts.sum() < MINIMUM_CELL:
        return SubgroupPerformance(variable=variable, level=level, left_out={"count": TOO_FEW})
    found, left_out = estimates(table)
    return SubgroupPerformance(
        variable=variable,
        level=level,
        metrics={name: estimate for name, estimate in found.items() if not name.startswith(CURVES)},
        left_out={name: reason for name, reason in left_out.items() if not name.startswith(CURVES)},
    )


def _calibration(table: NoisyTable) -> tuple[NoisyCalibrationBin, ...]:
    bins = table.layout.score_bins
    negatives, positives = table.counts[:bins], table.counts[bins:]
    weights = nearest_non_negative((negatives + positives)[None])[0]
    rows: list[NoisyCalibrationBin] = []
    for first, last in _merged(negatives + positives, table.variance):
        cases, count = float(positives[first:last].sum()), float((negatives + positives)[first:last].sum())
        observed = min(max(cases / count, 0.0), 1.0)
        from_noise = (last - first) * table.variance * (observed**2 + (1 - observed) ** 2) / count**2
        from_sampling = table.records_per_patient * observed * (1 - observed) / count
        weight = weights[first:last] if weights[first:last].sum() > 0 else np.ones(last - first)
        rows.append(
            NoisyCalibrationBin(
                lower=first / bins,
                upper=last / bins,
                predicted=float(np.average(bin_centres(bins)[first:last], weights=weight)),
                observed=observed,
                error=math.sqrt(from_noise + from_sampling),
                count=count,
            )
        )
    return tuple(rows)


def _merged(counts: FloatArray, variance: float) -> list[tuple[int, int]]:
    """Ranges of neighbouring bins, each with enough records to be shown; what is left at the end joins the last."""
    ranges: list[tuple[int, int]] = []
    first = 0
    for last in range(1, len(counts) + 1):
        if too_small(float(counts[first:last].sum()), 2 * (last - first), variance) is None:
            ranges.append((first, last))
            first = last
    if ranges and first < len(counts):
        start = ranges.pop()[0]
        total = float(counts[start:].sum())
        clear = too_small(total, 2 * (len(counts) - start), variance) is None
        return [*ranges, (start, len(counts) if clear else first)]
    return ranges
