"""How well a polygenic score predicts: variance explained, and the area under the ROC curve, from sums.

The area is read from a histogram of scores, five hundred bins to a standard deviation; a case and a control in one bin count as a
tie.

Axis names: p covariates, b bins.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import InvalidInputError
from federation.statistics.disclosure import check_total
from federation.statistics.genotype_source import Projection
from federation.statistics.genotypes.block_steps import AlignmentStep
from federation.statistics.genotypes.component_steps import ScoreHistogramStep, ScoreStep
from federation.statistics.genotypes.scan import alignment_table
from federation.statistics.genotypes.scan_model import ScanModel
from federation.statistics.result import Findings
from federation.statistics.solving import check_columns
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]
_BINS: Final = 5000
_REACH: Final = 5.0
"""Standard deviations on either side; scores beyond are in the outer bins."""
_PATIENTS_PER_COLUMN: Final = 3


def score_evaluation(
    score: Projection, *, model: ScanModel, sites: tuple[str, ...], is_binary: bool, patients: int, threshold: int
) -> Solver[Findings]:
    """Evaluate a score.

    Args:
        score: One column.
        model: Outcome and covariates.
        sites: Of the study.
        is_binary: Whether the outcome is 0 or 1.
        patients: In the sums.
        threshold: Fewest cases and controls.

    Raises:
        InvalidInputError: If covariates are collinear or the score is the same for everybody.
        PrivacyRefusedError: If there are too few patients, cases or controls.
    """
    fates = (yield AlignmentStep(variants=score.variants, sites=sites))["fates"]
    check_total(patients, max(threshold, _PATIENTS_PER_COLUMN * (model.width + 2)))
    gram = (yield ScoreStep(variants=score.variants, model=model, score=score))["gram"]
    width = model.width
    place = model.design.intercept
    if place is None:
        raise InvalidInputError("expected an intercept beside a score, got none")
    check_columns(gram[:width, :width], (*model.design.names, *(["component"] * (width - len(model.design.names)))))
    mean = gram[place, width] / patients
    spread = float(np.sqrt(max(gram[width, width] / patients - mean**2, 0.0)))
    if not spread > 0:
        raise InvalidInputError("expected scores that differ, got one for everybody", remedy="check the weights")
    total = gram[-1, -1] - gram[place, -1] ** 2 / patients
    explained = {name: 1 - _unexplained(gram, rows) / total for name, rows in _models(width, place).items()}
    both, covariates = explained["score and covariates"], explained["covariates"]
    figures: dict[str, float | None] = {
        "R-squared of the score": explained["score"],
        "R-squared of the covariates": covariates,
        "R-squared of both": both,
        "R-squared that the score adds": both - covariates,
    }
    if is_binary:
        cases = gram[place, -1]
        check_total(round(min(cases, patients - cases)), threshold)
        counts = (
            yield ScoreHistogramStep(
                variants=score.variants,
                score=score,
                outcome=model.outcome,
                lower=float(mean - _REACH * spread),
                upper=float(mean + _REACH * spread),
                bins=_BINS,
            )
        )["counts"]
        figures["AUROC of the score"] = area(counts)
    return Findings(figures=figures, tables=(alignment_table(sites, fates),))


def area(counts: FloatArray) -> float:
    """Chance that a case's score is above a control's, ties as a half.

    Args:
        counts: ``[2, b]`` controls and cases.
    """
    controls, cases = counts
    below = np.cumsum(controls) - controls
    return float((cases * (below + controls / 2)).sum() / (cases.sum() * controls.sum()))


def _models(width: int, intercept: int) -> dict[str, list[int]]:
    covariates = list(range(width))
    return {
        "score": [intercept, width],
        "covariates": covariates,
        "score and covariates": [*covariates, width],
    }


def _unexplained(gram: FloatArray, rows: list[int]) -> float:
    """Residual sum of squares of the outcome, which is the last column."""
    inner, outer = gram[np.ix_(rows, rows)], gram[rows, -1]
    return float(gram[-1, -1] - outer @ np.linalg.solve(inner, outer))
