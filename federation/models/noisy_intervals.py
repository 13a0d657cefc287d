"""Figures of one table of noisy counts, each with the error it carries.

Every figure comes with the error that noise adds and with an interval that holds noise and sampling together. Both are
measured by a parametric bootstrap (Efron & Tibshirani 1993, section 6.5): the nearest table without negative counts
stands for the truth, patients and noise of the known variance are drawn around it, and the root mean square distance of
the redrawn figures from that table's figure is the error, bias included. Everything here is post-processing of what was
released: it costs no privacy. The draws come from public streams, so everybody derives the same figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.documents import Document
from federation.models.noisy_metrics import CountLayout, FloatArray
from federation.models.noisy_statistics import NET_BENEFIT, TREAT_ALL, nearest_non_negative, statistics
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
CURVES: Final = (NET_BENEFIT, TREAT_ALL)
"""Beginnings of the names of points on the decision curve."""
_UNIT_INTERVAL: Final = frozenset({"prevalence", "accuracy", "auroc", "auprc", "brier", "macro_recall"})
_NOT_NEGATIVE: Final = frozenset({"count", "positives", "log_loss", "rmse", "mae"})
_TOTALS: Final = frozenset({"count", "positives"})
"""Facts about these very records: their interval holds noise only."""
_OF_BOTH_OUTCOMES: Final = frozenset({"prevalence", "auroc", "auprc", "calibration_intercept", "calibration_slope"})
_CORRECTED: Final = frozenset({"auprc"})
"""Taken from non-negative counts, which noise flattens: the bias seen in the redrawn tables is subtracted."""
TOO_NOISY: Final = "noise too large: the count is below 3 standard deviations of its noise"
TOO_FEW: Final = f"fewer than {MINIMUM_CELL} records"
UNSTABLE: Final = "noise too large to derive it"


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


@dataclass(frozen=True)
class NoisyTable:
    """One group's counts and what is known about their noise.

    Args:
        layout: What is counted.
        counts: ``[cells]``.
        variance: Of the noise of one cell.
        records_per_patient: Records that one patient may have in the table: sampling variance is at most that many times
            that of records of different patients.
        name: Of the group; tells its draws apart.
    """

    layout: CountLayout
    counts: FloatArray = field(repr=False)
    variance: float
    records_per_patient: int = 1
    name: str = ""


def estimates(table: NoisyTable) -> tuple[dict[str, NoisyEstimate], dict[str, str]]:
    """What stands clear of the noise with its error, and why the rest does not.

    Returns:
        Name of the figure (:func:`~federation.models.noisy_statistics.statistics`) to its estimate, and to the reason why
        there is none.
    """
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
            reasons[name] = UNSTABLE
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


def _refused(table: NoisyTable, point: dict[str, float]) -> dict[str, str]:
    """Figures that cannot be told from noise, are of too few records, or that the table does not define."""
    layout, variance = table.layout, table.variance
    reasons = {name: UNSTABLE for name, value in point.items() if not math.isfinite(value)}
    if layout.task == "binary":
        smaller = min(point["positives"], point["count"] - point["positives"])
        if (reason := too_small(smaller, layout.score_bins, variance)) is not None:
            reasons |= {name: reason for name in point if name in _OF_BOTH_OUTCOMES or name.startswith(CURVES)}
        if smaller < MINIMUM_CELL:
            reasons["positives"] = TOO_FEW
    if (reason := too_small(point["count"], layout.cells, variance)) is not None:
        reasons |= {name: reason for name in point if name != "count"}
    return reasons | ({"count": TOO_FEW} if point["count"] < MINIMUM_CELL else {})


def too_small(count: float, cells: int, variance: float) -> str | None:
    """Why a count, the sum of some cells, is not to be used; ``None`` if it is."""
    if count <= NOISE_LIMIT * math.sqrt(cells * variance):
        return TOO_NOISY
    return TOO_FEW if count < MINIMUM_CELL else None


def _clear_classes(table: NoisyTable) -> NDArray[np.bool_] | None:
    """``[K]`` classes whose count stands clear of its noise (multiclass)."""
    if table.layout.task != "multiclass":
        return None
    classes = table.layout.classes
    of_class = table.counts.reshape(classes, classes).sum(axis=1)
    return np.array([too_small(float(count), classes, table.variance) is None for count in of_class])


def _redrawn(table: NoisyTable) -> tuple[FloatArray, FloatArray, FloatArray]:
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
        sampled = truth + math.sqrt(table.records_per_patient) * (drawn - truth)
    return truth, noise, sampled + np.rint(generator.normal(0.0, spread, size=shape))


def _stand_in(table: NoisyTable) -> FloatArray:
    if table.layout.task == "binary":
        return nearest_non_negative(table.counts.reshape(2, -1)).reshape(-1)
    return nearest_non_negative(table.counts[None])[0]


def _root_mean_square(distances: FloatArray) -> float:
    usable = distances[np.isfinite(distances)]
    if len(usable) < (1 - _FAILED_DRAWS) * len(distances):
        return math.nan
    return float(np.sqrt(np.mean(np.square(usable))))
