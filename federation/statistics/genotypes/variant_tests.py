"""From sums over sites to the test of every variant: allelic, Cochran-Mantel-Haenszel, linear, logistic.

Block by block: of the sums of a block only the estimates stay.

Axis names: V variants, p columns beside the genotype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.statistics.genotype_source import Packed
from federation.statistics.genotypes.quality import Quality
from federation.statistics.genotypes.regression_steps import LinearScanStep, LogisticScanStep
from federation.statistics.genotypes.scan_model import ScanModel, bordered, symmetric
from federation.statistics.genotypes.stratum_steps import PARTS, StratumStep, alleles
from federation.statistics.inference import normal_width
from federation.statistics.solving import check_columns
from federation.statistics.step import Solver, Sums

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
Estimates = Mapping[str, FloatArray]
"""Column of the table to ``[V]`` of the tested variants; NaN where there is no finite estimate."""

MOST_NUMBERS: Final = 2**20
"""In one sum over a block of variants."""
_COLLINEAR: Final = 1e-8
"""Part of a genotype's sum of squares that the other columns leave; below, it is one of them."""
_MOST_ITERATIONS: Final = 25
_CONVERGED: Final = 1e-8


def allelic(quality: Quality) -> Estimates:
    """Pearson's chi-squared test of the table of alleles by outcome, without continuity correction; no further sum."""
    from scipy import stats

    counts = quality.counts[quality.tested]
    controls, cases = alleles(counts[:, 0]), alleles(counts[:, 1])
    (a, b), (c, d) = cases.T, controls.T
    total = a + b + c + d
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = total * (a * d - b * c) ** 2 / ((a + b) * (c + d) * (a + c) * (b + d))
        ratio = (a * d) / (b * c)
        return {
            "frequency in cases": a / (a + b),
            "frequency in controls": c / (c + d),
            "odds ratio": np.where(np.isfinite(ratio), ratio, np.nan),
            "statistic": statistic,
            "p": stats.chi2.sf(statistic, 1),
        }


def stratified(variants: str, quality: Quality, *, outcome: str, block: int, confidence: float) -> Solver[Estimates]:
    """Cochran-Mantel-Haenszel over sites."""
    from scipy import stats

    found: list[Estimates] = []
    tested = quality.tested
    for part in block_slices(len(tested), numbers=len(PARTS), block=block):
        sums = yield StratumStep(variants=variants, places=Packed.of(tested[part]), outcome=outcome)
        r, s, pr, mixed, qs, observed, expected, variance = sums["parts"].T
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = (observed - expected) ** 2 / variance
            log_ratio = np.log(r / s)
            error = np.sqrt(pr / (2 * r**2) + mixed / (2 * r * s) + qs / (2 * s**2))
        width = normal_width(confidence) * error
        with np.errstate(over="ignore"):
            found.append(
                {
                    "odds ratio": np.exp(log_ratio),
                    "standard error": error,
                    "lower": np.exp(log_ratio - width),
                    "upper": np.exp(log_ratio + width),
                    "statistic": statistic,
                    "p": stats.chi2.sf(statistic, 1),
                }
            )
    return _joined(found)


def linear(variants: str, quality: Quality, *, model: ScanModel, block: int, fills: bool = False) -> Solver[Estimates]:
    """Least squares of the outcome on each variant and the covariates; Student's t.

    Args:
        variants: Digest of the list.
        quality: Says which variants.
        model: Outcome and covariates.
        block: Most variants of one sum.
        fills: Whether missing genotypes count as twice the frequency over all sites; otherwise such people are left out.

    Raises:
        InvalidInputError: If the covariates are collinear.
    """
    tested, width = quality.tested, model.width
    found: list[Estimates] = []
    for part in block_slices(len(tested), numbers=width * (width + 1) // 2 + 2 * width + 3, block=block):
        places = tested[part]
        fill = _means(quality, places) if fills else None
        sums = yield LinearScanStep(variants=variants, places=Packed.of(places), model=model, fill=fill)
        known = quality.counts[places].sum(axis=(1, 2)) if fills else quality.known[places]
        if not found:
            check_columns(symmetric(sums["gram"], width)[int(known.argmax())], _names(model))
        found.append(_least_squares(sums, known, model))
    return _joined(found)


def _least_squares(sums: Sums, known: FloatArray, model: ScanModel) -> Estimates:
    """The genotype's coefficient after the covariates are solved for (Frisch & Waugh 1933)."""
    from scipy import stats

    gram = symmetric(sums["gram"], model.width)
    solved = np.linalg.solve(gram, np.stack([sums["cross"], sums["scores"]], axis=2))
    left = sums["square"] - np.einsum("vp,vp->v", sums["cross"], solved[:, :, 0])
    score = sums["score"] - np.einsum("vp,vp->v", sums["cross"], solved[:, :, 1])
    unexplained = sums["outcomes"] - np.einsum("vp,vp->v", sums["scores"], solved[:, :, 1])
    degrees = known - model.width - 1
    left = np.where((left > _COLLINEAR * sums["square"]) & (degrees > 0), left, np.nan)
    estimate = score / left
    error = np.sqrt(np.maximum(unexplained - score * estimate, 0.0) / np.maximum(degrees, 1) / left)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / error
    return {
        "beta": estimate * model.outcome_scale,
        "standard error": error * model.outcome_scale,
        "statistic": statistic,
        "p": 2 * stats.t.sf(np.abs(statistic), np.maximum(degrees, 1)),
    }


def logistic(
    variants: str, quality: Quality, *, model: ScanModel, block: int, confidence: float, fills: bool = False
) -> Solver[Estimates]:
    """Fisher scoring of a logistic model of each variant, a block at the same time. Arguments as of :func:`linear`.

    Raises:
        InvalidInputError: If the covariates are collinear.
    """
    from scipy import stats

    tested, width = quality.tested, model.width
    found: list[Estimates] = []
    for part in block_slices(len(tested), numbers=width * (width + 1) // 2 + 2 * width + 2, block=block):
        estimate, variance = yield from _scored(
            variants, tested[part], model, means=_means(quality, tested[part]) if fills else None
        )
        error = np.sqrt(variance)
        statistic, spread = estimate / error, normal_width(confidence) * error
        with np.errstate(over="ignore"):
            found.append(
                {
                    "log odds ratio": estimate,
                    "standard error": error,
                    "odds ratio": np.exp(estimate),
                    "lower": np.exp(estimate - spread),
                    "upper": np.exp(estimate + spread),
                    "statistic": statistic,
                    "p": 2 * stats.norm.sf(np.abs(statistic)),
                }
            )
    return _joined(found)


def _scored(
    variants: str, places: IndexArray, model: ScanModel, *, means: Packed | None
) -> Solver[tuple[FloatArray, FloatArray]]:
    """Coefficients of the genotype and their variances; NaN without a finite estimate. Who has converged is asked no more."""
    width = model.width
    at = np.zeros((len(places), width + 1))
    variance = np.full(len(places), np.nan)
    active = np.arange(len(places))
    for iteration in range(_MOST_ITERATIONS):
        sums = yield LogisticScanStep(
            variants=variants,
            places=Packed.of(places[active]),
            model=model,
            fill=None if means is None else Packed.of(means.array[active]),
            coefficients=Packed.of(at[active]),
        )
        information = bordered(sums["gram"], sums["cross"], sums["square"], width)
        if iteration == 0:
            largest = int(information[:, 0, 0].argmax())
            check_columns(information[largest, :width, :width], _names(model))
        inverses, is_regular = _inverses(information)
        moved = np.einsum("vij,vj->vi", inverses, np.column_stack([sums["scores"], sums["score"]]))
        at[active] += moved
        variance[active] = np.where(is_regular, inverses[:, -1, -1], np.nan)
        active = active[is_regular & (np.abs(moved).max(axis=1) >= _CONVERGED)]
        if len(active) == 0:
            break
    variance[active] = np.nan
    return np.where(np.isnan(variance), np.nan, at[:, -1]), variance


def _inverses(information: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Inverses of scaled matrices, and where there is one; zeros elsewhere."""
    diagonal = np.einsum("vii->vi", information)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = information / (scale[:, :, None] * scale[:, None, :])
    is_regular = (diagonal > 0).all(axis=1) & (np.linalg.eigvalsh(scaled)[:, 0] > _COLLINEAR)
    found = np.zeros_like(information)
    found[is_regular] = np.linalg.inv(scaled[is_regular])
    return found / (scale[:, :, None] * scale[:, None, :]), is_regular


def _means(quality: Quality, places: IndexArray) -> Packed:
    return Packed.of(2 * quality.frequency[places])


def _names(model: ScanModel) -> tuple[str, ...]:
    further = range(0 if model.components is None else model.components.width)
    return (*model.design.names, *(f"component {place + 1}" for place in further))


def block_slices(count: int, *, numbers: int, block: int) -> Iterator[slice]:
    """Parts of the variants whose sums fit in one vector."""
    size = max(1, min(block, MOST_NUMBERS // numbers))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _joined(found: list[Estimates]) -> Estimates:
    return {name: np.concatenate([estimates[name] for estimates in found]) for name in found[0]}
