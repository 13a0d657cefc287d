"""From an agreed analysis with privacy to its releases: what sites may be asked, and what the centre makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from federation.data.contract import Continuous, DataContract, Integer
from federation.errors import InternalError, InvalidInputError
from federation.statistics.agreed import Agreed
from federation.statistics.agreed_models import AgreedAnalysis, AgreedRegression
from federation.statistics.agreed_tables import AgreedCrossTable
from federation.statistics.private.promise import StatisticsPrivacy
from federation.statistics.private.regression import PrivateRegression, private_glm
from federation.statistics.private.sharing import PrivateSolver
from federation.statistics.private.step import Portion, PrivateStep
from federation.statistics.private.tables import private_table, table_release
from federation.statistics.result import Findings
from federation.statistics.step import Solver, Step

DEFAULT_ITERATIONS: Final = 8
"""Noisy steps of a regression: the first half finds the place, the second half is averaged."""


@dataclass(frozen=True)
class PrivatePlan:
    """An analysis with privacy.

    Args:
        name: Of the analysis.
        examples: Portions of every release, with any numbers that follow from earlier ones.
        solver: Asks for the releases, one after another.
        privacy: The promise.
    """

    name: str
    examples: tuple[tuple[Portion, ...], ...] = field(repr=False)
    solver: Callable[[], PrivateSolver] = field(repr=False)
    privacy: StatisticsPrivacy

    def step(self, release: int, portions: tuple[Portion, ...]) -> PrivateStep:
        """The step of a release, counted from 1."""
        return PrivateStep(
            analysis=self.name,
            release=release,
            noise_multiplier=self.privacy.noise_multiplier,
            shares=self.privacy.shares,
            portions=portions,
        )

    def allows(self, step: Step) -> bool:
        """Whether a step is one of the agreed releases."""
        if not isinstance(step, PrivateStep) or not 1 <= step.release <= self.privacy.releases:
            return False
        return self.step(step.release, self.examples[step.release - 1]).fixed() == step.fixed()

    def steps(self) -> Solver[Findings]:
        """The solver as one of steps. It asks for no more than was agreed.

        Raises:
            InternalError: If it asks for more: the promise would not hold.
        """
        solver = self.solver()
        release = 0
        try:
            portions = next(solver)
            while True:
                release += 1
                if release > self.privacy.releases:
                    raise InternalError(f"expected {self.privacy.releases} releases, the solver asks for another")
                sums = yield self.step(release, portions)
                portions = solver.send(sums)
        except StopIteration as end:
            return end.value


def plan_of(agreed: Agreed, contract: DataContract) -> PrivatePlan:
    """The plan of an agreed analysis with privacy.

    Args:
        agreed: As data.
        contract: Supplies the public bounds.

    Raises:
        InvalidInputError: If the analysis has no version with privacy, or other releases than it needs.
    """
    privacy = agreed.privacy
    if privacy is None:
        raise InternalError("expected an analysis with privacy, got one without")
    examples, solver = _releases(agreed, contract, privacy)
    if len(examples) != privacy.releases:
        raise InvalidInputError(
            f"expected {len(examples)} releases of this analysis, got {privacy.releases}",
            remedy="let `cohortium study add-analysis` write the promise",
        )
    return PrivatePlan(name=agreed.name, examples=examples, solver=solver, privacy=privacy)


def releases_of(agreed: Agreed, contract: DataContract, *, iterations: int) -> int:
    """How many noisy sums an analysis needs.

    Args:
        agreed: Without a promise yet.
        contract: Of the study.
        iterations: Steps of a solver that takes steps.

    Raises:
        InvalidInputError: If the analysis has no version with privacy.
    """
    made_up = StatisticsPrivacy(epsilon=1.0, delta=0.5, releases=iterations, noise_multiplier=1.0, shares=1)
    return len(_releases(agreed, contract, made_up)[0])


def _releases(
    agreed: Agreed, contract: DataContract, privacy: StatisticsPrivacy
) -> tuple[tuple[tuple[Portion, ...], ...], Callable[[], PrivateSolver]]:
    match agreed:
        case AgreedRegression():
            model = _regression(agreed, contract, privacy)
            return model.examples(), lambda: private_glm(model)
        case AgreedCrossTable():
            pair = contract.variable(agreed.rows), contract.variable(agreed.columns)
            release = table_release(*pair, clipping=privacy.clipping)
            return (release,), lambda: private_table(*pair, clipping=privacy.clipping)
        case _:
            raise InvalidInputError("not yet")


def _regression(agreed: AgreedRegression, contract: DataContract, privacy: StatisticsPrivacy) -> PrivateRegression:
    if agreed.against is not None:
        raise InvalidInputError(
            "expected no against=... with privacy: a likelihood-ratio test of noisy sums tells of the noise",
            remedy="leave against=... out and read the p-values of the coefficients",
        )
    model = agreed.model
    outcome = contract.variable(model.outcome)
    largest = max(abs(outcome.minimum), abs(outcome.maximum)) if isinstance(outcome, Continuous | Integer) else 1.0
    exposure = 1.0
    if model.offset is not None:
        exposure = float(np.exp(np.clip(model.offset.bounds(contract)[1], -30, 30)))
    # A linear model needs its cross products once; more steps would only divide the promise.
    releases = 1 if model.family == "linear" else privacy.releases
    return PrivateRegression(
        model=model,
        releases=releases,
        clipping=privacy.clipping,
        largest_outcome=largest,
        largest_exposure=exposure,
        ridge=agreed.ridge,
        confidence=agreed.confidence,
    )
