"""Performance from tables of counts, for many tables at once; NaN where a table does not define a figure.

Ratios of sums are taken from the counts as they are, negative ones included: cutting at zero would bias the sums. Only
average precision, whose denominators are single bins, is taken from the nearest table without negative counts
(:func:`nearest_non_negative`). Scores count as the centre of their bin.

Axis names: T tables, B bins, K classes.
"""

from __future__ import annotations

from typing import Final, assert_never

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from federation.models.noisy_metrics import OUTCOME_BINS, CountLayout, FloatArray

_MAX_ITERATIONS: Final = 60
_CONVERGED: Final = 1e-6
_FLAT: Final = 1e-12
"""A determinant of the curvature that small says nothing about the line."""
NET_BENEFIT: Final = "net_benefit/"
TREAT_ALL: Final = "treat_all/"


def statistics(
    layout: CountLayout, tables: FloatArray, *, classes: NDArray[np.bool_] | None = None
) -> dict[str, FloatArray]:
    """Every figure that a table defines.

    Args:
        layout: What the tables count.
        tables: ``[T, cells]``, possibly with negative counts.
        classes: ``[K]`` which classes enter ``macro_recall`` (multiclass); ``None``: all.

    Returns:
        Name to ``[T]``. Always ``count``. Binary: ``positives prevalence accuracy auroc auprc brier log_loss
        risk_excess calibration_intercept calibration_slope net_benefit/<threshold> treat_all/<threshold>``.
        Multiclass: ``accuracy macro_recall``. Regression: ``rmse mae mean_error r2``, in scaled units. Segmentation: ``dice``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        match layout.task:
            case "binary":
                found = _binary(tables)
            case "multiclass":
                found = _multiclass(tables, classes)
            case "regression":
                found = _regression(layout, tables)
            case "segmentation":
                found = {
                    "count": tables.sum(axis=-1),
                    "dice": tables @ bin_centres(layout.score_bins) / tables.sum(axis=-1),
                }
            case _:
                assert_never(layout.task)
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in found.items()}


def nearest_non_negative(tables: FloatArray) -> FloatArray:
    """The nearest tables (least squares) without negative counts and with the same totals.

    Euclidean projection onto a simplex (Held, Wolfe & Crowder 1974): post-processing of what is already released.

    Args:
        tables: ``[T, B]``; a table with a negative total becomes zero.
    """
    totals = np.maximum(tables.sum(axis=-1, keepdims=True), 0.0)
    falling = -np.sort(-tables, axis=-1)
    excess = (np.cumsum(falling, axis=-1) - totals) / np.arange(1, tables.shape[-1] + 1)
    last = np.maximum((falling > excess).sum(axis=-1, keepdims=True) - 1, 0)
    projected = np.maximum(tables - np.take_along_axis(excess, last, axis=-1), 0.0)
    return np.where(totals > 0, projected, 0.0)


def bin_centres(bins: int) -> FloatArray:
    """``[B]`` centres of bins of equal width on [0, 1]."""
    return (np.arange(bins) + 0.5) / bins


def _binary(tables: FloatArray) -> dict[str, FloatArray]:
    bins = tables.shape[-1] // 2
    negatives, positives = tables[..., :bins], tables[..., bins:]
    centres = bin_centres(bins)
    cases, controls = positives.sum(axis=-1), negatives.sum(axis=-1)
    count = cases + controls
    below = np.cumsum(negatives, axis=-1) - negatives
    # An odd number of bins has one around 0.5: half of it is taken as above.
    above = np.clip(np.arange(bins) - bins / 2 + 1, 0.0, 1.0)
    intercept, slope = _calibration_line(negatives, positives)
    return {
        "count": count,
        "positives": cases,
        "prevalence": cases / count,
        "accuracy": (positives @ above + negatives @ (1 - above)) / count,
        # Mann & Whitney 1947; noise of the two outcomes is independent, so the numerator has no bias.
        "auroc": (positives * (below + negatives / 2)).sum(axis=-1) / (cases * controls),
        "auprc": _average_precision(negatives, positives),
        "brier": (negatives @ np.square(centres) + positives @ np.square(1 - centres)) / count,
        "log_loss": -(negatives @ np.log1p(-centres) + positives @ np.log(centres)) / count,
        "risk_excess": ((negatives + positives) @ centres - cases) / count,
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        **_net_benefit(negatives, positives),
    }


def _average_precision(negatives: FloatArray, positives: FloatArray) -> FloatArray:
    """Area under precision over recall, the records of a bin in random order (Davis & Goadrich 2006, in its limit)."""
    hits, others = nearest_non_negative(positives)[..., ::-1], nearest_non_negative(negatives)[..., ::-1]
    size = hits + others
    true_before, before = np.cumsum(hits, axis=-1) - hits, np.cumsum(size, axis=-1) - size
    share = np.divide(hits, size, out=np.zeros_like(size), where=size > 0)
    growth = np.divide(before, size, out=np.zeros_like(size), where=size > 0)
    grown = np.divide(size, before, out=np.zeros_like(size), where=before > 0)
    started = np.divide(true_before, size, out=np.zeros_like(size), where=size > 0)
    # The integral of (true_before + t hits) / (before + t size) over t from 0 to 1.
    precision = share + (started - share * growth) * np.log1p(grown)
    return (precision * hits).sum(axis=-1) / hits.sum(axis=-1)


def _net_benefit(negatives: FloatArray, positives: FloatArray) -> dict[str, FloatArray]:
    """Vickers & Elkin 2006, at the edges between the bins."""
    bins = positives.shape[-1]
    cases, controls = positives.sum(axis=-1), negatives.sum(axis=-1)
    found: dict[str, FloatArray] = {}
    for edge in range(1, bins):
        odds = edge / (bins - edge)
        kept = positives[..., edge:].sum(axis=-1) - odds * negatives[..., edge:].sum(axis=-1)
        found[f"{NET_BENEFIT}{edge / bins:.4g}"] = kept / (cases + controls)
        found[f"{TREAT_ALL}{edge / bins:.4g}"] = (cases - odds * controls) / (cases + controls)
    return found


def _calibration_line(negatives: FloatArray, positives: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logistic regression of the outcome on the score's logit (Cox 1958): ``[T]`` intercepts and slopes.

    The estimating equations are linear in the counts, so noise gives them no bias. Newton's steps take their curvature
    from the nearest non-negative table, which moves no root. NaN where they do not converge.
    """
    predictor = logit(bin_centres(positives.shape[-1]))
    weight = nearest_non_negative(negatives + positives)
    intercept, slope = np.zeros(positives.shape[:-1]), np.ones(positives.shape[:-1])
    moved, determinant = np.full(positives.shape[:-1], np.inf), np.zeros(positives.shape[:-1])
    for _ in range(_MAX_ITERATIONS):
        risk = expit(intercept[..., None] + slope[..., None] * predictor)
        residual = positives * (1 - risk) - negatives * risk
        curvature = weight * risk * (1 - risk)
        first, second = residual.sum(axis=-1), residual @ predictor
        flat, mixed, steep = curvature.sum(axis=-1), curvature @ predictor, curvature @ np.square(predictor)
        determinant = np.maximum(flat * steep - np.square(mixed), _FLAT)
        steps = (steep * first - mixed * second) / determinant, (flat * second - mixed * first) / determinant
        intercept = np.clip(intercept + np.clip(steps[0], -2, 2), -50, 50)
        slope = np.clip(slope + np.clip(steps[1], -2, 2), -50, 50)
        moved = np.maximum(np.abs(steps[0]), np.abs(steps[1]))
        if np.all(moved < _CONVERGED):
            break
    solved = (moved < _CONVERGED) & (determinant > _FLAT)
    return np.where(solved, intercept, np.nan), np.where(solved, slope, np.nan)


def _multiclass(tables: FloatArray, classes: NDArray[np.bool_] | None) -> dict[str, FloatArray]:
    number = round(float(np.sqrt(tables.shape[-1])))
    confusion = tables.reshape(*tables.shape[:-1], number, number)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    count = tables.sum(axis=-1)
    chosen = np.ones(number, dtype=np.bool_) if classes is None else classes
    recall = (hits / confusion.sum(axis=-1))[..., chosen]
    macro = recall.mean(axis=-1) if chosen.any() else np.full(count.shape, np.nan)
    return {"count": count, "accuracy": hits.sum(axis=-1) / count, "macro_recall": macro}


def _regression(layout: CountLayout, tables: FloatArray) -> dict[str, FloatArray]:
    bins = layout.score_bins
    cells = tables.reshape(*tables.shape[:-1], OUTCOME_BINS, bins)
    errors = (2 * bin_centres(bins) - 1) * layout.error_limit
    low, high = layout.outcome_range
    outcomes = low + (high - low) * bin_centres(OUTCOME_BINS)
    by_error, by_outcome = cells.sum(axis=-2), cells.sum(axis=-1)
    count = tables.sum(axis=-1)
    squared = by_error @ np.square(errors) / count
    spread = by_outcome @ np.square(outcomes) / count - np.square(by_outcome @ outcomes / count)
    width = (high - low) / OUTCOME_BINS
    return {
        "count": count,
        "rmse": np.sqrt(np.where(squared > 0, squared, np.nan)),
        "mae": by_error @ np.abs(errors) / count,
        "mean_error": by_error @ errors / count,
        # A spread within one bin is made by the bins, not by the patients.
        "r2": np.where(spread > np.square(width) / 4, 1 - squared / spread, np.nan),
    }
