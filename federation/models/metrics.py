"""Performance as sums over records, so that the sites' sums add up to the sum over all sites.

A binary task keeps a histogram of the scores for each outcome; AUROC and the precision-recall area are derived from the
counts. Bins have equal width on [0, 1]; scores in the same bin are ties. With fine bins the figures converge to the
exact ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from federation.errors import InvalidInputError, TransportError
from federation.models.count_metrics import COUNT_NAMES, count_sums, derive_count
from federation.models.quantile_metrics import derive_quantile, quantile_lengths, quantile_sums
from federation.models.survival_metrics import derive_survival, survival_lengths, survival_sums
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, Objective, QuantileTerms, task_of

FloatArray = NDArray[np.float64]

_CLIP: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 before their logarithm: no record is infinitely wrong."""
_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "binary": frozenset({"negative_histogram", "positive_histogram", "log_loss", "squared_error", "correct"}),
    "multiclass": frozenset({"confusion", "log_loss"}),
    "regression": frozenset({"count", "outcome", "outcome_squared", "squared_error", "absolute_error"}),
    "count": COUNT_NAMES,
}


def _names_of(task: Objective) -> frozenset[str]:
    match task:
        case QuantileTerms():
            return frozenset(quantile_lengths(task))
        case DiscreteTimeTerms() | CoxTerms():
            return frozenset(survival_lengths(task, risk_bins=1))
        case _:
            return _NAMES[task]


@dataclass(frozen=True)
class MetricSums:
    """Additive performance of a model on some records.

    Args:
        task: What the sums are of.
        arrays: Name to one-dimensional float64, of length 1 where no length is given. Binary: ``negative_histogram``
            and ``positive_histogram`` ``[bins]``, ``log_loss``, ``squared_error``, ``correct``. Multiclass:
            ``confusion`` ``[K * K]`` (true class, then predicted class), ``log_loss``. Regression: ``count``,
            ``outcome``, ``outcome_squared``, ``squared_error``, ``absolute_error``. Others: see their own modules.
    """

    task: Objective
    arrays: Mapping[str, FloatArray] = field(repr=False)

    def __add__(self, other: MetricSums) -> MetricSums:
        shapes = {name: array.shape for name, array in self.arrays.items()}
        if self.task != other.task or shapes != {name: array.shape for name, array in other.arrays.items()}:
            raise InvalidInputError(
                "expected metric sums of the same task, bins and classes, got different ones",
                remedy="evaluate every site under one manifest",
            )
        return MetricSums(self.task, {name: array + other.arrays[name] for name, array in self.arrays.items()})

    def derive(self) -> dict[str, float]:
        """The usual metrics. What the records do not define (AUROC of one class, R² of a constant) is left out.

        Returns:
            Always ``count``. Binary: ``prevalence accuracy auroc auprc brier log_loss``. Multiclass: ``accuracy
            macro_recall log_loss``. Regression: ``rmse mae r2``, in scaled units. Others: see their own modules.
        """
        match self.task:
            case "binary":
                return _derive_binary(self.arrays)
            case "multiclass":
                return _derive_multiclass(self.arrays)
            case "regression":
                return _derive_regression(self.arrays)
            case "count":
                return derive_count(self.arrays)
            case QuantileTerms():
                return derive_quantile(self.task, self.arrays)
            case DiscreteTimeTerms() | CoxTerms():
                return derive_survival(self.task, self.arrays)
            case _:
                assert_never(self.task)

    def to_arrays(self) -> dict[str, FloatArray]:
        """The sums as named one-dimensional arrays, for a message."""
        return dict(self.arrays)

    @staticmethod
    def from_arrays(task: Objective, arrays: Mapping[str, ArrayLike]) -> MetricSums:
        """Sums from the arrays of a message.

        Raises:
            TransportError: If a name is missing or unknown, or an array is not a vector of finite numbers of the right
            length.
        """
        if sorted(arrays) != sorted(_names_of(task)):
            raise TransportError(f"expected metric arrays {sorted(_names_of(task))}, got {sorted(arrays)}")
        vectors = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        for name, vector in vectors.items():
            signed = name == "outcome"
            if vector.ndim != 1 or not np.isfinite(vector).all() or not (signed or bool(np.all(vector >= 0))):
                raise TransportError(f"expected metric array {name!r} to be a vector of finite numbers, none negative")
        _check_lengths(task, vectors)
        return MetricSums(task, vectors)


def _check_lengths(task: Objective, vectors: Mapping[str, FloatArray]) -> None:
    lengths = {name: len(vector) for name, vector in vectors.items()}
    bins, classes = 1, 1
    match task:
        case "binary":
            bins = lengths["negative_histogram"]
        case "multiclass":
            classes = round(float(np.sqrt(lengths["confusion"])))
        case DiscreteTimeTerms() | CoxTerms():
            bins = lengths["risk_table"] // (2 * len(task.bin_edges) + 2)
        case _:
            pass
    if bins < 1 or lengths != metric_lengths(task, score_bins=bins, classes=classes):
        raise TransportError(f"expected metric arrays of fitting lengths for task {task_of(task)!r}, got {lengths}")


def metric_lengths(task: Objective, *, score_bins: int, classes: int) -> dict[str, int]:
    """Name to length of the arrays of :class:`MetricSums`.

    Args:
        task: What the sums are of.
        score_bins: Bins of the score histogram (binary), of the risk (survival).
        classes: K (multiclass).
    """
    match task:
        case QuantileTerms():
            return quantile_lengths(task)
        case DiscreteTimeTerms() | CoxTerms():
            return survival_lengths(task, risk_bins=score_bins)
        case _:
            long = {"negative_histogram": score_bins, "positive_histogram": score_bins, "confusion": classes**2}
            return {name: long.get(name, 1) for name in sorted(_NAMES[task])}


def metric_sums(task: Objective, scores: ArrayLike, outcomes: ArrayLike, *, score_bins: int) -> MetricSums:
    """Sum up how well scores agree with outcomes.

    Args:
        task: What is learned.
        scores: As :func:`federation.models.losses.scores` gives them, ``[R]`` or ``[R, K]``.
        outcomes: ``[R]``: 0 or 1, a class index, the outcome in the unit of the predictions, or an encoded time.
        score_bins: Bins of the score histogram (binary), of the risk (survival).

    Raises:
        InvalidInputError: If shapes do not fit or a number is not finite (training diverged).
    """
    said, truth = np.asarray(scores, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    wanted = 2 if task == "multiclass" or isinstance(task, QuantileTerms | DiscreteTimeTerms) else 1
    if said.ndim != wanted or truth.shape != said.shape[:1] or score_bins < 1:
        raise InvalidInputError(
            f"expected scores of {wanted} dimensions, as many outcomes and at least one bin for task {task_of(task)!r}, "
            f"got shapes {said.shape} and {truth.shape} and {score_bins} bins"
        )
    if not (np.isfinite(said).all() and np.isfinite(truth).all()):
        raise InvalidInputError(
            "expected finite scores and outcomes, got NaN or infinity", remedy="lower the learning rate"
        )
    match task:
        case "binary":
            return MetricSums(task, _binary_sums(said, truth, score_bins))
        case "multiclass":
            return MetricSums(task, _multiclass_sums(said, truth.astype(np.int64)))
        case "regression":
            return MetricSums(task, _regression_sums(said, truth))
        case "count":
            return MetricSums(task, count_sums(said, truth))
        case QuantileTerms():
            return MetricSums(task, quantile_sums(task, said, truth))
        case DiscreteTimeTerms() | CoxTerms():
            return MetricSums(task, survival_sums(task, said, truth, risk_bins=score_bins))
        case _:
            assert_never(task)


def _one(value: float | np.floating) -> FloatArray:
    return np.array([float(value)])


def _binary_sums(said: FloatArray, truth: FloatArray, score_bins: int) -> dict[str, FloatArray]:
    bins = np.clip((said * score_bins).astype(np.int64), 0, score_bins - 1)
    positive = truth > 0.5  # noqa: PLR2004 - between the two codes
    safe = np.clip(said, _CLIP, 1 - _CLIP)
    return {
        "negative_histogram": np.bincount(bins[~positive], minlength=score_bins).astype(np.float64),
        "positive_histogram": np.bincount(bins[positive], minlength=score_bins).astype(np.float64),
        "log_loss": _one(-np.where(positive, np.log(safe), np.log1p(-safe)).sum()),
        "squared_error": _one(np.square(said - positive).sum()),
        "correct": _one(((said > 0.5) == positive).sum()),  # noqa: PLR2004 - more likely than not
    }


def _multiclass_sums(said: FloatArray, truth: NDArray[np.int64]) -> dict[str, FloatArray]:
    classes = said.shape[1]
    if np.any((truth < 0) | (truth >= classes)):
        raise InvalidInputError(f"expected class indices from 0 to {classes - 1}")
    cells = truth * classes + said.argmax(axis=1)
    safe = np.clip(said[np.arange(len(truth)), truth], _CLIP, 1.0)
    return {
        "confusion": np.bincount(cells, minlength=classes * classes).astype(np.float64),
        "log_loss": _one(-np.log(safe).sum()),
    }


def _regression_sums(said: FloatArray, truth: FloatArray) -> dict[str, FloatArray]:
    return {
        "count": _one(len(truth)),
        "outcome": _one(truth.sum()),
        "outcome_squared": _one(np.square(truth).sum()),
        "squared_error": _one(np.square(said - truth).sum()),
        "absolute_error": _one(np.abs(said - truth).sum()),
    }


def _derive_binary(arrays: Mapping[str, FloatArray]) -> dict[str, float]:
    negatives, positives = arrays["negative_histogram"], arrays["positive_histogram"]
    count, cases = float(negatives.sum() + positives.sum()), float(positives.sum())
    result = {"count": count}
    if count:
        result["prevalence"] = cases / count
        result["accuracy"] = float(arrays["correct"][0]) / count
        result["brier"] = float(arrays["squared_error"][0]) / count
        result["log_loss"] = float(arrays["log_loss"][0]) / count
    if 0 < cases < count:
        # Mann & Whitney 1947: a pair in the same bin counts one half.
        below = np.cumsum(negatives) - negatives
        result["auroc"] = float(positives @ (below + negatives / 2)) / (cases * (count - cases))
    if cases:
        result["auprc"] = _average_precision(negatives, positives)
    return result


def _average_precision(negatives: FloatArray, positives: FloatArray) -> float:
    """Precision at each bin's lower edge, weighted by the bin's recall: scikit-learn's average precision."""
    true_positives = np.cumsum(positives[::-1])
    predicted = np.maximum(true_positives + np.cumsum(negatives[::-1]), 1e-300)
    return float((true_positives / predicted) @ positives[::-1]) / float(positives.sum())


def _derive_multiclass(arrays: Mapping[str, FloatArray]) -> dict[str, float]:
    cells = arrays["confusion"]
    classes = round(float(np.sqrt(len(cells))))
    confusion = cells.reshape(classes, classes)
    count = float(confusion.sum())
    if not count:
        return {"count": 0.0}
    present = confusion.sum(axis=1) > 0
    recall = np.diag(confusion)[present] / confusion.sum(axis=1)[present]
    return {
        "count": count,
        "accuracy": float(np.trace(confusion)) / count,
        "macro_recall": float(recall.mean()),
        "log_loss": float(arrays["log_loss"][0]) / count,
    }


def _derive_regression(arrays: Mapping[str, FloatArray]) -> dict[str, float]:
    count = float(arrays["count"][0])
    if not count:
        return {"count": 0.0}
    squared = float(arrays["squared_error"][0])
    result = {
        "count": count,
        "rmse": float(np.sqrt(squared / count)),
        "mae": float(arrays["absolute_error"][0]) / count,
    }
    spread = float(arrays["outcome_squared"][0]) - float(arrays["outcome"][0]) ** 2 / count
    # The difference of two sums carries their rounding: a spread below it is none.
    if spread > 1e-12 * float(arrays["outcome_squared"][0]):
        result["r2"] = 1 - squared / spread
    return result
