"""From an agreed analysis with privacy to its releases: what sites may be asked, and what the centre makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from federation.data.contract import DataContract
from federation.errors import InternalError, InvalidInputError
from federation.statistics.agreed import Agreed
from federation.statistics.agreed_models import AgreedCox, AgreedCurves, AgreedLogRank, AgreedRegression
from federation.statistics.agreed_tables import (
    AgreedComponents,
    AgreedCrossTable,
    AgreedDescription,
    AgreedOddsRatio,
)
from federation.statistics.private.releases import (
    Releases,
    component_releases,
    cox_releases,
    curve_releases,
    description_releases,
    log_rank_releases,
    not_additive,
    odds_ratio_releases,
    regression_releases,
    table_releases,
)
from federation.statistics.private.sharing import PrivateSolver
from federation.statistics.private_step import Portion, PrivateStep
from federation.statistics.promise import StatisticsPrivacy
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


def _releases(agreed: Agreed, contract: DataContract, privacy: StatisticsPrivacy) -> Releases:  # noqa: PLR0911 - one line for each kind
    match agreed:
        case AgreedRegression():
            return regression_releases(agreed, contract, privacy)
        case AgreedCox():
            return cox_releases(agreed, privacy)
        case AgreedCrossTable():
            return table_releases(agreed, contract, privacy)
        case AgreedDescription():
            return description_releases(agreed, contract, privacy)
        case AgreedOddsRatio():
            return odds_ratio_releases(agreed, contract, privacy)
        case AgreedComponents():
            return component_releases(agreed, contract, privacy)
        case AgreedCurves():
            return curve_releases(agreed, contract, privacy)
        case AgreedLogRank():
            return log_rank_releases(agreed, contract, privacy)
        case _:
            raise not_additive("meta", "analysis=glm, whose sums are over all patients")
