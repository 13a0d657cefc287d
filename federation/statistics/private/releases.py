"""The releases of each kind of agreed analysis, with bounds from the contract. What is no sum over patients is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from federation.data.contract import Continuous, DataContract, Integer
from federation.errors import InvalidInputError
from federation.statistics.agreed_models import AgreedCox, AgreedCurves, AgreedLogRank, AgreedRegression
from federation.statistics.agreed_tables import (
    AgreedComponents,
    AgreedCrossTable,
    AgreedDescription,
    AgreedOddsRatio,
    scaled_by_range,
)
from federation.statistics.association import MantelHaenszelStep
from federation.statistics.descriptive import level_names
from federation.statistics.descriptive_steps import LevelCountStep
from federation.statistics.private.components import components_release, private_components
from federation.statistics.private.curves import private_curves, risk_table_release
from federation.statistics.private.descriptions import PrivateDescription, private_description
from federation.statistics.private.hazards import PrivateCox, private_cox
from federation.statistics.private.odds_ratio import private_odds_ratio, tables_release
from federation.statistics.private.rank_test import check_cells, private_log_rank
from federation.statistics.private.regression import PrivateRegression, private_glm
from federation.statistics.private.sharing import PrivateSolver
from federation.statistics.private.tables import private_table, table_release
from federation.statistics.private_step import Portion
from federation.statistics.promise import StatisticsPrivacy
from federation.statistics.survival_steps import RiskTableStep

Releases = tuple[tuple[tuple[Portion, ...], ...], Callable[[], PrivateSolver]]
"""Portions of every release, and the solver that asks for them."""


def not_additive(what: str, instead: str) -> InvalidInputError:
    """The refusal of an analysis in which one patient's part has no bound."""
    return InvalidInputError(
        f"expected an analysis that is a sum over patients, as privacy needs, got {what}: what one patient does to it has no bound",
        remedy=f"use {instead}, or leave privacy out",
    )


def regression_releases(agreed: AgreedRegression, contract: DataContract, privacy: StatisticsPrivacy) -> Releases:
    """Noisy steps; of a linear model one.

    Raises:
        InvalidInputError: If another model is to be compared with, or there are no steps.
    """
    if agreed.against is not None:
        raise InvalidInputError(
            "expected no against=... with privacy, got a model to compare with: noise would decide a likelihood-ratio test",
            remedy="leave against=... out and read the p-values of the coefficients",
        )
    model = agreed.model
    outcome = contract.variable(model.outcome)
    largest = max(abs(outcome.minimum), abs(outcome.maximum)) if isinstance(outcome, Continuous | Integer) else 1.0
    exposure = 1.0
    if model.offset is not None:
        exposure = float(np.exp(np.clip(model.offset.bounds(contract)[1], -30, 30)))
    asked = PrivateRegression(
        model=model,
        # A linear model needs its cross products once; more steps would only divide the promise.
        releases=1 if model.family == "linear" else privacy.releases,
        clipping=privacy.clipping,
        largest_outcome=largest,
        largest_exposure=exposure,
        ridge=agreed.ridge,
        confidence=agreed.confidence,
    )
    asked.check()
    return asked.examples(), lambda: private_glm(asked)


def cox_releases(agreed: AgreedCox, privacy: StatisticsPrivacy) -> Releases:
    """Events, then noisy steps.

    Raises:
        InvalidInputError: If it is stratified by site, has other ties than Breslow's, or too few releases.
    """
    model = agreed.model
    if model.grid is None:
        raise not_additive("a Cox model stratified by site", "grid=..., with risk sets over all sites")
    if model.ties != "breslow":
        raise InvalidInputError(
            f"expected ties=breslow with privacy, got {model.ties}: Efron's are no sum over patients",
            remedy="write ties=breslow",
        )
    asked = PrivateCox(
        model=model,
        grid=model.grid,
        releases=privacy.releases,
        clipping=privacy.clipping,
        confidence=agreed.confidence,
    )
    return asked.examples(), lambda: private_cox(asked)


def table_releases(agreed: AgreedCrossTable, contract: DataContract, privacy: StatisticsPrivacy) -> Releases:
    """One."""
    pair = contract.variable(agreed.rows), contract.variable(agreed.columns)
    release = table_release(*pair, clipping=privacy.clipping)
    return (release,), lambda: private_table(*pair, clipping=privacy.clipping)


def description_releases(agreed: AgreedDescription, contract: DataContract, privacy: StatisticsPrivacy) -> Releases:
    """One."""
    asked = PrivateDescription(
        variables=tuple(contract.variable(name) for name in agreed.described),
        clipping=privacy.clipping,
        quantiles=agreed.quantiles,
        bins=agreed.bins,
    )
    return (asked.release(),), lambda: private_description(asked)


def odds_ratio_releases(agreed: AgreedOddsRatio, contract: DataContract, privacy: StatisticsPrivacy) -> Releases:
    """One.

    Raises:
        InvalidInputError: If it is stratified by site.
    """
    step = agreed.steps(contract)[0]
    if isinstance(step, MantelHaenszelStep) or not isinstance(step, LevelCountStep):
        raise not_additive("an odds ratio stratified by site", "strata=VARIABLE")
    release = tables_release(step, clipping=privacy.clipping)
    confidence = agreed.confidence
    return (release,), lambda: private_odds_ratio(step, clipping=privacy.clipping, confidence=confidence)


def component_releases(agreed: AgreedComponents, contract: DataContract, privacy: StatisticsPrivacy) -> Releases:
    """One."""
    numbers = tuple(scaled_by_range(contract.variable(name)) for name in agreed.numbers)
    release = components_release(numbers, clipping=privacy.clipping)
    return (release,), lambda: private_components(
        numbers, components=agreed.components, standardises=agreed.standardise, clipping=privacy.clipping
    )


def curve_releases(agreed: AgreedCurves, contract: DataContract, privacy: StatisticsPrivacy) -> Releases:
    """One."""
    step = _risk_table(agreed, contract)
    names = ("all",) if agreed.group is None else level_names(contract.variable(agreed.group))
    release = risk_table_release(step, clipping=privacy.clipping)
    return (release,), lambda: private_curves(step, names, confidence=agreed.confidence, clipping=privacy.clipping)


def log_rank_releases(agreed: AgreedLogRank, contract: DataContract, privacy: StatisticsPrivacy) -> Releases:
    """One.

    Raises:
        InvalidInputError: If it is stratified by site, or the grid is too fine.
    """
    if agreed.grid is None:
        raise not_additive("a log-rank test stratified by site", "grid=..., with risk sets over all sites")
    step = _risk_table(agreed, contract)
    check_cells(step)
    names = level_names(contract.variable(agreed.group))
    release = risk_table_release(step, clipping=privacy.clipping)
    return (release,), lambda: private_log_rank(step, names, clipping=privacy.clipping)


def _risk_table(agreed: AgreedCurves | AgreedLogRank, contract: DataContract) -> RiskTableStep:
    step = agreed.steps(contract)[0]
    if not isinstance(step, RiskTableStep):
        raise not_additive("risk sets within sites", "grid=...")
    return step
