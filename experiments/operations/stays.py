"""Predicted lengths of stay beside other predictions of the same patients, by site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.operations.asking import GROUP, Asked, Terms, ask
from experiments.operations.curves_of_stay import knots_up_to, time_of
from experiments.operations.finished_run import FinishedRun, SitePatients
from experiments.operations.predicted_stays import expected_days, predicted_curves, stay_of
from federation.data.contract import Continuous, ImputeMissing
from federation.statistics.prediction_steps import Scores
from federation.statistics.result import AnalysisResult, Findings
from federation.statistics.stay_steps import StayErrorStep, StayQuestion, judge_stays
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]

TITLES: Final = {"mean": "this study, mean", "median": "this study, median", "usual": "mean of past patients"}
_ENDS: Final = ("lower", "upper")


def stays(run: FinishedRun, patients: Sequence[SitePatients], *, level: float, terms: Terms) -> AnalysisResult:
    """Judge the study's mean and median stay beside the rivals', and its interval.

    Args:
        run: A finished study of lengths of stay.
        patients: Of every site.
        level: Of the interval.
        terms: Of the report.

    Raises:
        As :func:`~experiments.operations.asking.ask`; ConfigurationError: If the study is not of lengths of stay.
    """
    stay, rivals = stay_of(run), run.study.definition.rivals
    knots = knots_up_to(stay.maximum)
    tail = (1 - level) / 2

    def columns(site: SitePatients) -> Mapping[str, FloatArray]:
        curves = predicted_curves(run, site.said, knots=knots)
        past = site.training.values[stay.name]
        return {
            "mean": expected_days(curves, knots=knots),
            "median": time_of(curves, 0.5, knots=knots),
            "usual": np.full(len(site.test), float(np.nanmean(past))),
            "lower": time_of(curves, 1 - tail, knots=knots),
            "upper": time_of(curves, tail, knots=knots),
            **{rival: site.test.values[rival] for rival in rivals},
            stay.name: site.test.values[stay.name],
        }

    def solver(labels: tuple[str, ...]) -> Solver[Findings]:
        scores = Scores(
            scores=(*TITLES, *rivals), outcome=stay.name, group=GROUP if labels else None, groups=max(1, len(labels))
        )
        step = StayErrorStep(scores=scores, interval=_ENDS, longest=stay.maximum)
        titles = (*TITLES.values(), *rivals.values())
        return judge_stays(StayQuestion(step=step, titles=titles, labels=labels, threshold=terms.smallest_count(run)))

    variables = tuple(_days(name, stay.maximum) for name in (*TITLES, *_ENDS, *rivals))
    outcome = _days(stay.name, stay.maximum).model_copy(update={"missing": Continuous.model_fields["missing"].default})
    result = ask(run, patients, Asked("stays", variables, outcome, columns), terms=terms, solver=solver)
    return result.model_copy(update={"figures": {**result.figures, "level": level}})


def _days(name: str, longest: float) -> Continuous:
    return Continuous(
        name=name, kind="continuous", unit="day", minimum=0, maximum=longest, missing=ImputeMissing(value=0)
    )
