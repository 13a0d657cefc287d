"""From the settings of an analysis to the analysis as data, and to what the centre runs, checked against the contract."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from aggregator.statistics.analysing import Analysis, analysis_of
from experiments.analyse_formula import read_formula
from experiments.analyse_regression import regression_model
from experiments.analyse_settings import AnalysisSettings, PrivacySettings
from federation.data.contract import Continuous, DataContract, Integer
from federation.errors import ConfigurationError
from federation.statistics.agreed_models import (
    AgreedAnalysis,
    AgreedCox,
    AgreedCurves,
    AgreedLogRank,
    AgreedMetaAnalysis,
    AgreedRegression,
    check_survival,
)
from federation.statistics.agreed_tables import (
    AgreedComponents,
    AgreedCrossTable,
    AgreedDescription,
    AgreedOddsRatio,
    expect_binary,
    levels_of,
    scaled_by_range,
)
from federation.statistics.cox import CoxModel
from federation.statistics.descriptive import numbers_of
from federation.statistics.descriptive_steps import Levels
from federation.statistics.private.plans import releases_of
from federation.statistics.promise import StatisticsPrivacy
from federation.statistics.requests import Selection
from federation.statistics.survival_steps import MOST_POINTS, Survival, TimeGrid

BY_SITE: Final = "site"
"""As ``strata``: within sites."""


def plan(settings: AnalysisSettings, contract: DataContract, *, shares: int = 1) -> Analysis:
    """What the centre runs.

    Args:
        settings: As typed.
        contract: Of the study.
        shares: Sites that share the noise, in an analysis with privacy.

    Raises:
        ConfigurationError: If the settings do not fit the contract.
        ManifestError: If a variable is not in it.
    """
    return analysis_of(agree(settings, contract, shares=shares), contract, threshold=settings.threshold)


def agree(
    settings: AnalysisSettings, contract: DataContract, *, name: str | None = None, shares: int = 1
) -> AgreedAnalysis:
    """The analysis as data, in which formulas are columns.

    Args:
        settings: As typed.
        contract: Of the study.
        name: Of the analysis in its study; ``None``: what kind of analysis it is.
        shares: Sites that share the noise, in an analysis with privacy.

    Raises:
        ConfigurationError: If the settings do not fit the contract.
        ManifestError: If a variable is not in it.
    """
    plans: dict[str, Callable[[AnalysisSettings, DataContract, str], AgreedAnalysis]] = {
        "describe": _describe,
        "crosstab": _crosstab,
        "glm": _regression,
        "penalised_logistic": _regression,
        "kaplan_meier": _kaplan_meier,
        "log_rank": _log_rank,
        "cox": _cox,
        "mantel_haenszel": _mantel_haenszel,
        "meta": _meta,
        "pca": _pca,
    }
    found = plans[settings.analysis](settings, contract, name or settings.analysis)
    complete = tuple(sorted(found.variables() | set(settings.complete)))
    chosen = found.model_copy(update={"selection": Selection(where=settings.where, complete=complete)})
    chosen.check_against(contract)
    return chosen if settings.privacy is None else _promised(chosen, settings.privacy, contract, shares=shares)


def _promised(agreed: AgreedAnalysis, asked: PrivacySettings, contract: DataContract, *, shares: int) -> AgreedAnalysis:
    """The analysis with a promise whose noise is calibrated to its releases."""
    promise = StatisticsPrivacy.calibrated(
        epsilon=asked.epsilon,
        delta=asked.delta,
        releases=releases_of(agreed, contract, iterations=asked.iterations),
        shares=shares,
        clipping=asked.clipping,
    )
    return agreed.model_copy(update={"privacy": promise})


def _describe(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedDescription:
    described = settings.variables or tuple(variable.name for variable in contract.columns)
    return AgreedDescription(name=name, described=described, quantiles=settings.quantiles, bins=settings.bins)


def _crosstab(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedCrossTable:
    rows, columns = (levels_of(contract.variable(each or "")) for each in (settings.rows, settings.columns))
    return AgreedCrossTable(name=name, rows=rows.variable, columns=columns.variable)


def _regression(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedRegression:
    model = regression_model(settings, contract)
    against = None
    if settings.against is not None:
        against = model.model_copy(update={"design": read_formula(settings.against, contract).design})
    kind: Any = settings.analysis
    return AgreedRegression(
        name=name, kind=kind, model=model, against=against, ridge=settings.ridge, confidence=settings.confidence
    )


def _kaplan_meier(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedCurves:
    survival, grid = _survival(settings, contract), _grid(settings, contract)
    group = _coded(settings.group, contract)
    if grid is None:
        raise ConfigurationError("analysis=kaplan_meier needs grid=...")
    return AgreedCurves(
        name=name,
        survival=survival,
        grid=grid,
        group=None if group is None else group.variable,
        confidence=settings.confidence,
    )


def _log_rank(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedLogRank:
    survival = _survival(settings, contract)
    group, strata = _coded(settings.group, contract), _strata(settings, contract)
    if group is None:
        raise ConfigurationError("analysis=log_rank needs group=...")
    return AgreedLogRank(
        name=name,
        survival=survival,
        group=group.variable,
        grid=_grid(settings, contract),
        strata=None if strata is None else strata.variable,
    )


def _cox(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedCox:
    read = read_formula(settings.formula or "", contract, has_intercept=False)
    if read.outcome:
        raise ConfigurationError(
            "expected no outcome in the formula of a Cox model: time and event are settings of their own",
            remedy="write for example formula='age + stage' time=months event=died",
        )
    model = CoxModel(
        survival=_survival(settings, contract),
        design=read.design,
        ties=settings.ties,
        grid=_grid(settings, contract),
        strata=_strata(settings, contract),
    )
    return AgreedCox(name=name, model=model, confidence=settings.confidence)


def _mantel_haenszel(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedOddsRatio:
    exposure, outcome = contract.variable(settings.exposure or ""), contract.variable(contract.outcome.name)
    for variable in (exposure, outcome):
        expect_binary(variable)
    strata = _strata(settings, contract)
    return AgreedOddsRatio(
        name=name,
        exposure=exposure.name,
        outcome=outcome.name,
        strata=None if strata is None else strata.variable,
        confidence=settings.confidence,
    )


def _meta(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedMetaAnalysis:
    model = regression_model(settings, contract)
    names = model.design.names
    if settings.term not in names:
        raise ConfigurationError(f"term: expected one of {list(names)}, got {settings.term!r}")
    column = names.index(settings.term)
    return AgreedMetaAnalysis(
        name=name, model=model, column=column, method=settings.method, confidence=settings.confidence
    )


def _pca(settings: AnalysisSettings, contract: DataContract, name: str) -> AgreedComponents:
    chosen = tuple(contract.variable(each) for each in settings.variables) or numbers_of(contract)
    numbers = tuple(scaled_by_range(variable).variable for variable in chosen)
    return AgreedComponents(
        name=name, numbers=numbers, components=settings.components, standardise=settings.standardise
    )


def _survival(settings: AnalysisSettings, contract: DataContract) -> Survival:
    time, event = contract.variable(settings.time or ""), contract.variable(settings.event or "")
    entry = None if settings.entry is None else contract.variable(settings.entry).name
    survival = Survival(time=time.name, event=event.name, entry=entry)
    check_survival(survival, contract)
    return survival


def _grid(settings: AnalysisSettings, contract: DataContract) -> TimeGrid | None:
    if settings.strata == BY_SITE or settings.grid is None:
        return None
    time = contract.variable(settings.time or "")
    longest = time.maximum if isinstance(time, Continuous | Integer) else 0.0
    points = math.ceil(longest / settings.grid - 1e-9)
    if not 1 <= points <= MOST_POINTS:
        raise ConfigurationError(
            f"grid: expected 1 to {MOST_POINTS} points up to the longest time {longest:g}, got {points}",
            remedy="choose another width",
        )
    return TimeGrid(width=settings.grid, points=points)


def _strata(settings: AnalysisSettings, contract: DataContract) -> Levels | None:
    return None if settings.strata == BY_SITE else _coded(settings.strata, contract)


def _coded(name: str | None, contract: DataContract) -> Levels | None:
    return None if name is None else levels_of(contract.variable(name))
