"""Risks of a binary outcome: calibration beside other predictions, and whom to follow up, by site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.operations.asking import GROUP, Asked, Terms, ask
from experiments.operations.finished_run import FinishedRun, SitePatients
from federation.data.contract import Binary, Continuous, ImputeMissing
from federation.errors import ConfigurationError
from federation.statistics.calibration import Question, calibrate
from federation.statistics.follow_up import follow_up
from federation.statistics.prediction_steps import Scores
from federation.statistics.result import AnalysisResult, Findings
from federation.statistics.step import Solver

FloatArray = NDArray[np.float64]

RISK: Final = "risk"
MODEL: Final = "this study"
_FINE_BINS: Final = 5000
"""Of risks that are close to each other, so that a capacity is filled to a patient or two."""


def risk_variable(name: str, description: str) -> Continuous:
    """A column of predicted risks; where one is missing, the patient is left out and counted."""
    return Continuous(
        name=name,
        kind="continuous",
        unit="dimensionless",
        minimum=0,
        maximum=1,
        out_of_range="forbid",
        missing=ImputeMissing(value=0),
        description=description,
    )


def asked_risks(run: FinishedRun, name: str) -> Asked:
    """The columns: the model's risk, the rivals', and the outcome.

    Raises:
        ConfigurationError: If the outcome of the study is not binary.
    """
    outcome, rivals = run.manifest.contract.outcome, run.study.definition.rivals
    if not isinstance(outcome, Binary):
        raise ConfigurationError(
            f"expected a study of a binary outcome, got task {run.manifest.task!r}",
            remedy="for lengths of stay use `cohortium operations stays`",
        )

    def columns(site: SitePatients) -> Mapping[str, FloatArray]:
        return {
            RISK: np.clip(site.said, 0.0, 1.0),
            **{rival: site.test.values[rival] for rival in rivals},
            outcome.name: site.test.values[outcome.name],
        }

    return Asked(
        name=name,
        variables=(risk_variable(RISK, MODEL), *(risk_variable(rival, title) for rival, title in rivals.items())),
        outcome=outcome,
        columns=columns,
    )


def calibration(run: FinishedRun, patients: Sequence[SitePatients], *, terms: Terms) -> AnalysisResult:
    """Judge the model's risks beside the rivals' on the same test patients.

    Raises:
        As :func:`~experiments.operations.asking.ask`.
    """
    asked = asked_risks(run, "calibration")
    rivals = run.study.definition.rivals

    def solver(labels: tuple[str, ...]) -> Solver[Findings]:
        scores = Scores(
            scores=(RISK, *rivals),
            outcome=asked.outcome.name,
            group=GROUP if labels else None,
            groups=max(1, len(labels)),
        )
        titles = (MODEL, *rivals.values())
        return calibrate(Question(scores=scores, titles=titles, labels=labels, threshold=terms.smallest_count(run)))

    return ask(run, patients, asked, terms=terms, solver=solver)


def following_up(
    run: FinishedRun, patients: Sequence[SitePatients], *, capacity: float, terms: Terms
) -> AnalysisResult:
    """What following up the patients of the highest risk would reach; each site follows up its own.

    Args:
        run: A finished study of a binary outcome.
        patients: Of every site.
        capacity: Share of the patients who can be followed up.
        terms: Of the report.

    Raises:
        As :func:`~experiments.operations.asking.ask`.
    """
    asked = asked_risks(run, "follow_up")

    def solver(labels: tuple[str, ...]) -> Solver[Findings]:
        scores = Scores(
            scores=(RISK,), outcome=asked.outcome.name, group=GROUP if labels else None, groups=max(1, len(labels))
        )
        question = Question(
            scores=scores, titles=(MODEL,), labels=labels, threshold=terms.smallest_count(run), bins=_FINE_BINS
        )
        return follow_up(question, capacity=capacity)

    return ask(run, patients, asked, terms=terms, solver=solver)
