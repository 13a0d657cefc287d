"""Performance with its error, from the sum of the sites' noisy counts.

Every figure comes with the error that noise adds and with an interval that holds noise and sampling together. Both are
measured by a parametric bootstrap (Efron & Tibshirani 1993, section 6.5): the nearest table without negative counts
stands for the truth, patients and noise of the known variance are drawn around it, and the root mean square distance of
the redrawn figures from that table's figure is the error, bias included. Everything here is post-processing of what was
released: it costs no privacy. The draws come from public streams, so everybody derives the same figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from federation.documents import Document
from federation.models.noisy_metrics import OVERALL, CountLayout, FloatArray, NoisyCounts, group_of
from federation.models.noisy_statistics import NET_BENEFIT, TREAT_ALL, bin_centres, nearest_non_negative, statistics
from federation.privacy.randomness import public_streams

MINIMUM_CELL: Final = 11
"""Smaller counts are not shown, nor what is derived from them (the rule of CMS and of many registries)."""
NOISE_LIMIT: Final = 3.0
"""A count below that many standard deviations of its noise may be nothing but noise."""
_DRAWS: Final = 200
_FAILED_DRAWS: Final = 0.05
"""Where more of the redrawn tables do not define a figure, it is left out."""
_WIDTH: Final = 1.959964
"""Standard errors on each side of a 95 % interval."""
_UNIT_INTERVAL: Final = frozenset({"prevalence", "accuracy", "auroc", "auprc", "brier", "macro_recall"})
_NOT_NEGATIVE: Final = frozenset({"count", "positives", "log_loss", "rmse", "mae"})
_TOTALS: Final = frozenset({"count", "positives"})
"""Facts about these very records: their interval holds noise only."""
_OF_BOTH_OUTCOMES: Final = frozenset({"prevalence", "auroc", "auprc", "calibration_intercept", "calibration_slope"})
_CORRECTED: Final = frozenset({"auprc"})
"""Taken from non-negative counts, which noise flattens: the bias seen in the redrawn tables is subtracted."""
_TOO_NOISY: Final = "noise too large: the count is within 3 standard deviations of its noise of zero"
_TOO_FEW: Final = f"fewer than {MINIMUM_CELL} records"
_UNSTABLE: Final = "noise too large to derive it"


class NoisyEstimate(Document):
    """A figure from noisy counts, and how far it may be off."""

    value: float
    noise_error: float
    """Root mean square error that the noise adds."""
    error: float
    """The same of noise and sampling together."""
    lower: float
    """Of the 95 % interval for noise and sampling together; for counts of records, noise only."""
    upper: float


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


@dataclass(frozen=True)
class _Table:
    """One group's counts and what is known about their noise."""

    layout: CountLayout
    counts: FloatArray
    variance: float
    clusters: int
    """Records that one patient may have in the table: sampling variance is at most that many times that of patients."""
    name: str


def derive_performance(counts: NoisyCounts, *, max_records_per_patient: int = 1) -> NoisyPerformance:
    """What the noisy counts say, and how well they say it.

    Args:
        counts: Summed over the sites.
        max_records_per_patient: Of the manifest; records of a patient are not independent, so sampling errors are widened
            as if they were copies.
    """

    def table(group: str) -> _Table:
        return _Table(counts.layout, counts.groups[group], counts.variance, max_records_per_patient, group)

    found, left_out = _estimates(table(OVERALL))
    curve = {name: found.pop(name) for name in list(found) if name.startswith((NET_BENEFIT, TREAT_ALL))}
    return NoisyPerformance(
        num_sites=counts.num_sites,
        cell_error=math.sqrt(counts.variance),
        score_bins=counts.layout.score_bins,
        metrics=found,
        left_out={name: reason for name, reason in left_out.items() if not name.startswith((NET_BENEFIT, TREAT_ALL))},
        subgroups=tuple(
            _subgroup(table(group_of(variable, level)), variable, level)
            for variable, levels in counts.layout.subgroups
            for level in levels
        ),
        calibration=_calibration(table(OVERALL)) if counts.layout.task == "binary" and len(found) > 1 else (),
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


def _subgroup(table: _Table, variable: str, level: str) -> SubgroupPerformance:
    """A row is shown if its noisy count is. Whoever subtracts the other rows from the total gets a noisy count again, which
    the noise protects, so no second row has to be hidden to protect the first."""
    if table.counts.sum() < MINIMUM_CELL:
        return SubgroupPerformance(variable=variable, level=level, left_out={"count": _TOO_FEW})
    found, left_out = _estimates(table)
    curves = (NET_BENEFIT, TREAT_ALL)
    return SubgroupPerformance(
        variable=variable,
        level=level,
        metrics={name: estimate for name, estimate in found.items() if not name.startswith(curves)},
        left_out={name: reason for name, reason in left_out.items() if not name.startswith(curves)},
    )


def _estimates(table: _Table) -> tuple[dict[str, NoisyEstimate], dict[str, str]]:
    """What stands clear of the noise with its error, and why the rest does not."""
    classes = _clear_classes(table)
    point = statistics(table.layout, table.counts[None], classes=classes)
    reasons = _refused(table, {name: float(values[0]) for name, values in point.items()})
    truth, noise, both = _redrawn(table)
    reference = statistics(table.layout, truth[None], classes=classes)
    by_noise = statistics(table.layout, noise, classes=classes)
    by_both = statistics(table.layout, both, classes=classes)
    found: dict[str, NoisyEstimate] = {}
    for name, values in point.items():
        if name in reasons:
            continue
        noise_error = _root_mean_square(by_noise[name] - reference[name])
        error = noise_error if name in _TOTALS else _root_mean_square(by_both[name] - reference[name])
        if not math.isfinite(noise_error + error):
            reasons[name] = _UNSTABLE
            continue
        value = float(values[0])
        if name in _CORRECTED:
            bias = float(np.nanmean(by_noise[name] - reference[name]))
            value -= bias
            # The correction is itself uncertain, by about its own size.
            noise_error, error = math.hypot(noise_error, bias), math.hypot(error, bias)
        found[name] = _estimate(name, value, noise_error=noise_error, error=max(error, noise_error))
    return found, reasons


def _estimate(name: str, value: float, *, noise_error: float, error: float) -> NoisyEstimate:
    lowest = 0.0 if name in _UNIT_INTERVAL | _NOT_NEGATIVE else -math.inf
    highest = 1.0 if name in _UNIT_INTERVAL | {"r2"} else math.inf

    def inside(number: float) -> float:
        return min(max(number, lowest), highest)

    # Counts stay as they are, so that they add up.
    return NoisyEstimate(
        value=value if name in _TOTALS else inside(value),
        noise_error=noise_error,
        error=error,
        lower=inside(value - _WIDTH * error),
        upper=inside(value + _WIDTH * error),
    )


def _refused(table: _Table, point: dict[str, float]) -> dict[str, str]:
    """Figures that cannot be told from noise, are of too few records, or that the table does not define."""
    layout, variance = table.layout, table.variance
    reasons: dict[str, str] = {}
    if (reason := _too_small(point["count"], layout.cells, variance)) is not None:
        reasons = {name: reason for name in point if name != "count"}
    if layout.task == "binary":
        smaller = min(point["positives"], point["count"] - point["positives"])
        if (reason := _too_small(smaller, layout.score_bins, variance)) is not None:
            reasons |= dict.fromkeys(_OF_BOTH_OUTCOMES, reason)
        if smaller < MINIMUM_CELL:
            reasons["positives"] = _TOO_FEW
    return {name: _UNSTABLE for name, value in point.items() if not math.isfinite(value)} | reasons


def _too_small(count: float, cells: int, variance: float) -> str | None:
    if count <= NOISE_LIMIT * math.sqrt(cells * variance):
        return _TOO_NOISY
    return _TOO_FEW if count < MINIMUM_CELL else None


def _clear_classes(table: _Table) -> np.ndarray | None:
    """``[K]`` classes whose count stands clear of its noise (multiclass)."""
    if table.layout.task != "multiclass":
        return None
    classes = table.layout.classes
    of_class = table.counts.reshape(classes, classes).sum(axis=1)
    return np.array([_too_small(float(count), classes, table.variance) is None for count in of_class])


def _redrawn(table: _Table) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The stand-in for the truth ``[cells]``, and ``[draws, cells]`` with noise, and with sampling and noise."""
    truth = _stand_in(table)
    generator = public_streams("paid evaluation", 0).stream(table.name)
    spread = math.sqrt(table.variance)
    shape = (_DRAWS, len(truth))
    noise = truth + np.rint(generator.normal(0.0, spread, size=shape))
    total = float(truth.sum())
    sampled = truth
    if total > 0:
        drawn = generator.multinomial(max(1, round(total)), truth / total, size=_DRAWS)
        sampled = truth + math.sqrt(table.clusters) * (drawn - truth)
    return truth, noise, sampled + np.rint(generator.normal(0.0, spread, size=shape))


def _stand_in(table: _Table) -> FloatArray:
    if table.layout.task == "binary":
        return nearest_non_negative(table.counts.reshape(2, -1)).reshape(-1)
    return nearest_non_negative(table.counts[None])[0]


def _root_mean_square(distances: FloatArray) -> float:
    usable = distances[np.isfinite(distances)]
    if len(usable) < (1 - _FAILED_DRAWS) * len(distances):
        return math.nan
    return float(np.sqrt(np.mean(np.square(usable))))


def _calibration(table: _Table) -> tuple[NoisyCalibrationBin, ...]:
    bins = table.layout.score_bins
    negatives, positives = table.counts[:bins], table.counts[bins:]
    weights = nearest_non_negative((negatives + positives)[None])[0]
    rows: list[NoisyCalibrationBin] = []
    for first, last in _merged(negatives + positives, table.variance):
        cases, count = float(positives[first:last].sum()), float((negatives + positives)[first:last].sum())
        observed = min(max(cases / count, 0.0), 1.0)
        from_noise = (last - first) * table.variance * (observed**2 + (1 - observed) ** 2) / count**2
        from_sampling = table.clusters * observed * (1 - observed) / count
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
        if _too_small(float(counts[first:last].sum()), 2 * (last - first), variance) is None:
            ranges.append((first, last))
            first = last
    if ranges and first < len(counts):
        start = ranges.pop()[0]
        total = float(counts[start:].sum())
        clear = _too_small(total, 2 * (len(counts) - start), variance) is None
        return [*ranges, (start, len(counts) if clear else first)]
    return ranges
