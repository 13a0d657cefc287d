"""From the settings of an analysis to what the centre runs: selection, model and solver, checked against the contract."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from aggregator.statistics.analysing import Analysis
from experiments.analyse_formula import read_formula
from experiments.analyse_regression import regression_model
from experiments.analyse_settings import AnalysisSettings
from federation.data.contract import Binary, Continuous, DataContract, Integer, Outcome, Variable
from federation.errors import ConfigurationError
from federation.statistics.association import mantel_haenszel
from federation.statistics.cox import CoxModel, solve_cox
from federation.statistics.descriptive import cross_tabulate, describe, level_names, numbers_of
from federation.statistics.descriptive_steps import Levels, Scaled
from federation.statistics.glm import solve_glm
from federation.statistics.meta_analysis import meta_analysis
from federation.statistics.principal_components import principal_components
from federation.statistics.requests import Selection
from federation.statistics.result import Findings
from federation.statistics.step import Solver
from federation.statistics.survival import curves, log_rank
from federation.statistics.survival_steps import MOST_POINTS, Survival, TimeGrid

Solving = Callable[[int], Solver[Findings]]

BY_SITE: Final = "site"
"""As ``strata``: within sites."""


def plan(settings: AnalysisSettings, contract: DataContract) -> Analysis:
    """What the centre runs.

    Args:
        settings: As typed.
        contract: Of the study.

    Raises:
        ConfigurationError: If the settings do not fit the contract.
        ManifestError: If a variable is not in it.
    """
    plans: dict[str, Callable[[AnalysisSettings, DataContract], tuple[frozenset[str], Solving]]] = {
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
    variables, solver = plans[settings.analysis](settings, contract)
    complete = tuple(sorted(variables | set(settings.complete)))
    return Analysis(name=settings.analysis, selection=Selection(where=settings.where, complete=complete), solver=solver)


def _describe(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    chosen: tuple[Variable, ...] = tuple(contract.variable(name) for name in settings.variables) or contract.columns
    return frozenset(), lambda patients: describe(
        chosen, patients=patients, threshold=settings.threshold, quantiles=settings.quantiles, bins=settings.bins
    )


def _crosstab(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    rows, columns = contract.variable(settings.rows or ""), contract.variable(settings.columns or "")
    for variable in (rows, columns):
        level_names(variable)  # refuses numbers
    return frozenset({rows.name, columns.name}), lambda _: cross_tabulate(rows, columns, threshold=settings.threshold)


def _regression(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    model = regression_model(settings, contract)
    against = None
    if settings.against is not None:
        against = model.model_copy(update={"design": read_formula(settings.against, contract).design})
    variables = model.variables() | (frozenset() if against is None else against.variables())
    return variables, lambda patients: solve_glm(
        model,
        patients=patients,
        threshold=settings.threshold,
        confidence=settings.confidence,
        ridge=settings.ridge,
        against=against,
    )


def _kaplan_meier(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    survival = _survival(settings, contract)
    grid = _grid(settings, contract)
    group, names = _coded(settings.group, contract)
    if grid is None:
        raise ConfigurationError("analysis=kaplan_meier needs grid=...")
    return survival.variables() | _names(group), lambda _: curves(
        survival,
        grid,
        threshold=settings.threshold,
        confidence=settings.confidence,
        group=group,
        names=names or ("all",),
    )


def _log_rank(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    survival = _survival(settings, contract)
    group, names = _coded(settings.group, contract)
    strata, grid = _strata(settings, contract), _grid(settings, contract)
    if group is None:
        raise ConfigurationError("analysis=log_rank needs group=...")
    return survival.variables() | _names(group, strata), lambda _: log_rank(
        survival, group, names, threshold=settings.threshold, grid=grid, strata=strata
    )


def _cox(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    read = read_formula(settings.formula or "", contract, has_intercept=False)
    if read.outcome:
        raise ConfigurationError(
            "expected no outcome in the formula of a Cox model: time and event are settings of their own",
            remedy="write for example formula='age + stage' time=months event=died",
        )
    strata = _strata(settings, contract)
    model = CoxModel(
        survival=_survival(settings, contract),
        design=read.design,
        ties=settings.ties,
        grid=_grid(settings, contract),
        strata=strata,
    )
    variables = model.survival.variables() | read.design.variables() | _names(strata)
    return variables, lambda patients: solve_cox(
        model, patients=patients, threshold=settings.threshold, confidence=settings.confidence
    )


def _mantel_haenszel(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    exposure, outcome = contract.variable(settings.exposure or ""), contract.outcome
    for variable in (exposure, outcome):
        _expect_binary(variable)
    strata = _strata(settings, contract)
    return frozenset({exposure.name, outcome.name}) | _names(strata), lambda _: mantel_haenszel(
        exposure.name, outcome.name, threshold=settings.threshold, confidence=settings.confidence, strata=strata
    )


def _meta(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    model = regression_model(settings, contract)
    names = model.design.names
    if settings.term not in names:
        raise ConfigurationError(f"term: expected one of {list(names)}, got {settings.term!r}")
    column = names.index(settings.term)
    return model.variables(), lambda _: meta_analysis(
        model, column, method=settings.method, confidence=settings.confidence
    )


def _pca(settings: AnalysisSettings, contract: DataContract) -> tuple[frozenset[str], Solving]:
    chosen = tuple(contract.variable(name) for name in settings.variables) or numbers_of(contract)
    numbers = tuple(_scaled(variable) for variable in chosen)
    return frozenset(number.variable for number in numbers), lambda patients: principal_components(
        numbers, patients=patients, components=settings.components, standardises=settings.standardise
    )


def _scaled(variable: Variable) -> Scaled:
    if not isinstance(variable, Continuous | Integer):
        raise ConfigurationError(
            f"expected numbers for principal components, got {variable.name} of kind {variable.kind!r}",
            remedy="name numbers in variables=[...]",
        )
    half = (variable.maximum - variable.minimum) / 2
    return Scaled(variable=variable.name, centre=variable.minimum + half, scale=half)


def _survival(settings: AnalysisSettings, contract: DataContract) -> Survival:
    time, event = contract.variable(settings.time or ""), contract.variable(settings.event or "")
    entry = None if settings.entry is None else contract.variable(settings.entry)
    for variable in (time, entry):
        if variable is not None and not isinstance(variable, Continuous | Integer):
            raise ConfigurationError(f"expected a number as a time, got {variable.name} of kind {variable.kind!r}")
    _expect_binary(event)
    return Survival(time=time.name, event=event.name, entry=None if entry is None else entry.name)


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
    return None if settings.strata == BY_SITE else _coded(settings.strata, contract)[0]


def _coded(name: str | None, contract: DataContract) -> tuple[Levels | None, tuple[str, ...]]:
    if name is None:
        return None, ()
    names = level_names(contract.variable(name))
    return Levels(variable=name, levels=len(names)), names


def _names(*coded: Levels | None) -> frozenset[str]:
    return frozenset(item.variable for item in coded if item is not None)


def _expect_binary(variable: Outcome) -> None:
    if not isinstance(variable, Binary):
        raise ConfigurationError(
            f"expected a binary variable, got {variable.name} of kind {variable.kind!r}",
            remedy="choose another variable",
        )
