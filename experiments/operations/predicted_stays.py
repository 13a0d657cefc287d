"""What a finished study of lengths of stay says about each patient: expected days, and the chance to be still there.

Axis names: R patients, K knots (days after admission).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.operations.curves_of_stay import curve_at, curve_of_bands, curve_of_counts, curve_of_quantiles
from experiments.operations.finished_run import FinishedRun
from experiments.studies.eicu_stay.study import BAND_ENDS
from federation.data.contract import Categorical, Continuous
from federation.data.encoding import decode_outcome
from federation.errors import ConfigurationError
from federation.models.task_terms import DiscreteTimeTerms, QuantileTerms

FloatArray = NDArray[np.float64]

_SUFFIX = "_stay"


def stay_of(run: FinishedRun) -> Continuous:
    """The variable with the length of stay in days: the outcome, or one beside the model's.

    Raises:
        ConfigurationError: If the study is not of lengths of stay.
    """
    rivals = run.study.definition.rivals
    for variable in (*run.study.definition.beside, *run.manifest.contract.columns):
        if variable.name.endswith(_SUFFIX) and variable.name not in rivals and isinstance(variable, Continuous):
            return variable
    raise ConfigurationError(
        f"expected a study of lengths of stay, got {run.manifest.study}",
        remedy="run `cohortium simulate study=eicu_stay` first",
    )


def predicted_curves(run: FinishedRun, said: FloatArray, *, knots: tuple[float, ...]) -> FloatArray:
    """``[R, K]`` chance to be still there.

    Args:
        run: The finished study.
        said: What its model says about R patients.
        knots: Days.

    Raises:
        ConfigurationError: If no curve follows from what the model says.
    """
    manifest = run.manifest
    match manifest.objective:
        case "multiclass" if isinstance(manifest.contract.outcome, Categorical):
            return curve_of_bands(said, ends=BAND_ENDS, knots=knots)
        case "count":
            return curve_of_counts(said, knots=knots)
        case QuantileTerms(levels=levels):
            return curve_of_quantiles(decode_outcome(manifest.contract, said), levels=levels, knots=knots)
        case DiscreteTimeTerms(edges=edges):
            return curve_at(said, edges=edges, knots=knots)
        case _:
            raise ConfigurationError(
                f"expected predicted lengths of stay, got task {manifest.task!r}",
                remedy="run `cohortium simulate study=eicu_stay` first",
            )


def expected_days(curves: FloatArray, *, knots: tuple[float, ...]) -> FloatArray:
    """``[R]`` mean stay: the area under the curve, straight between knots."""
    days = np.array([0.0, *knots])
    known = np.concatenate([np.ones((len(curves), 1)), curves], axis=1)
    return np.asarray(np.trapezoid(known, days, axis=1), dtype=np.float64)
