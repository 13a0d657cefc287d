"""The settings of ``cohortium analyse``: what is asked of whom, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self, get_args

import yaml
from pydantic import Field, model_validator

from federation.data.cohort import Criterion
from federation.documents import Document, Json
from federation.errors import ConfigurationError
from federation.identifiers import VariableName
from federation.statistics.disclosure import DEFAULT_THRESHOLD
from federation.statistics.families import Family
from federation.statistics.private.plans import DEFAULT_ITERATIONS
from federation.statistics.promise import LARGEST_EPSILON, MOST_RELEASES

AnalysisName = Literal[
    "describe",
    "crosstab",
    "glm",
    "penalised_logistic",
    "kaplan_meier",
    "log_rank",
    "cox",
    "mantel_haenszel",
    "meta",
    "pca",
]
_OPERATORS: Final = {"==": "eq", "=": "eq", "!=": "ne", "<=": "le", "<": "lt", ">=": "ge", ">": "gt"}
_TEXTS: Final = {"formula", "against", "offset", "where"}
"""Settings whose value is taken as it stands."""
_FOR_THE_STUDY: Final = ("study", "cohort")


class PrivacySettings(Document):
    """What an analysis promises a patient: ``privacy.epsilon=2``."""

    epsilon: Annotated[float, Field(gt=0, le=LARGEST_EPSILON)]
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Well below one over the number of patients of all sites."""
    iterations: Annotated[int, Field(ge=1, le=MOST_RELEASES)] = DEFAULT_ITERATIONS
    """Noisy steps of a regression."""
    clipping: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Factor of the public bounds: below 1 there is less noise, and patients beyond the bound count for less."""


class AnalysisSettings(Document):
    """One analysis. Which settings it reads depends on ``analysis``; see docs/statistics.md."""

    analysis: AnalysisName
    formula: str | None = None
    """Of regressions: ``outcome ~ age + sex``; a Cox model needs the right side only."""
    against: str | None = None
    """A smaller formula for the likelihood-ratio test."""
    family: Family | None = None
    """``None``: what fits the outcome's kind."""
    offset: str | None = None
    """Such as ``log(exposure)``."""
    ridge: Annotated[float, Field(ge=0)] = 0.0
    where: tuple[Criterion, ...] = ()
    complete: tuple[VariableName, ...] = ()
    """Variables that must be known beside those of the analysis, so that several analyses are of the same patients."""
    variables: tuple[VariableName, ...] = ()
    """Of descriptive tables and PCA; empty: all numbers of the contract."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.25, 0.5, 0.75)
    bins: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """Of the histograms from which quantiles are read."""
    rows: VariableName | None = None
    columns: VariableName | None = None
    strata: str | None = None
    """A variable with levels, or ``site``."""
    time: VariableName | None = None
    event: VariableName | None = None
    entry: VariableName | None = None
    """Time from which a patient is observed; ``None``: from 0."""
    group: VariableName | None = None
    grid: Annotated[float, Field(gt=0)] | None = None
    """Width of the agreed time grid, in the unit of ``time``: times are rounded up to its points."""
    ties: Literal["efron", "breslow"] = "efron"
    exposure: VariableName | None = None
    term: str | None = None
    """Of a meta-analysis: the coefficient that the sites' own fits are compared on."""
    method: Literal["dersimonian_laird", "reml"] = "dersimonian_laird"
    components: Annotated[int, Field(ge=1)] = 2
    standardise: bool = True
    """PCA of correlations; otherwise of covariances."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    threshold: Annotated[int, Field(ge=1)] = DEFAULT_THRESHOLD
    """Smallest number of patients that a count, or a difference of counts, may show."""
    aggregation: Literal["masked", "open"] = "masked"
    """``masked``: secure sums; ``open``: what each site sends is visible, for public and generated records only."""
    privacy: PrivacySettings | None = None
    """``None``: exact sums."""

    @model_validator(mode="after")
    def _check_needed(self) -> Self:
        needed = {
            "crosstab": ("rows", "columns"),
            "glm": ("formula",),
            "penalised_logistic": ("formula",),
            "kaplan_meier": ("time", "event", "grid"),
            "log_rank": ("time", "event", "group"),
            "cox": ("formula", "time", "event"),
            "mantel_haenszel": ("exposure",),
            "meta": ("formula", "term"),
        }.get(self.analysis, ())
        absent = [name for name in needed if getattr(self, name) is None]
        if absent:
            raise ValueError(f"analysis={self.analysis} needs {', '.join(f'{name}=...' for name in absent)}")
        if self.analysis in {"log_rank", "cox"} and self.strata != "site" and self.grid is None:
            raise ValueError(
                f"analysis={self.analysis} needs grid=... for risk sets over all sites, or strata=site for risk sets within sites"
            )
        if self.analysis == "penalised_logistic" and self.ridge == 0:
            raise ValueError("analysis=penalised_logistic needs ridge=... above 0")
        return self


def read_settings(overrides: Sequence[str]) -> tuple[AnalysisSettings, list[str]]:
    """Divide what was typed into the analysis's settings and the study's.

    Args:
        overrides: ``KEY=VALUE`` each.

    Returns:
        The settings, and the overrides that choose and change the study.

    Raises:
        ConfigurationError: With one line per mistake.
    """
    from conf.suggestions import did_you_mean
    from conf.validation import build

    tree: dict[str, Json] = {}
    rest: list[str] = []
    known = {*AnalysisSettings.model_fields, *_FOR_THE_STUDY}
    mistakes: list[str] = []
    for line in overrides:
        word, equals, text = line.partition("=")
        key, _, part = word.partition(".") if word.startswith("privacy.") else (word, "", "")
        if not equals:
            mistakes.append(f"cannot read {line!r}: expected KEY=VALUE")
        elif key.split(".")[0] in _FOR_THE_STUDY:
            rest.append(line)
        elif key not in known:
            mistakes.append(f"unknown setting {key!r}{did_you_mean(key, known, listed=40)}")
        elif part:
            group = tree.setdefault(key, {})
            if isinstance(group, dict):
                group[part] = _yaml(line, text)
        else:
            tree[key] = _value(key, text)
    if "analysis" not in tree and not mistakes:
        mistakes.append(f"missing setting 'analysis'{did_you_mean('', _names(), listed=20)}")
    if mistakes:
        raise ConfigurationError("\n".join(mistakes))
    return build(AnalysisSettings, tree), rest


def _names() -> tuple[str, ...]:
    return get_args(AnalysisName)


def _value(key: str, text: str) -> Json:
    if key == "where":
        return read_criteria(text)
    return text if key in _TEXTS else _yaml(key, text)


def read_criteria(text: str) -> list[Json]:
    """One condition, or several in brackets, as criteria of a selection.

    Raises:
        ConfigurationError: If one cannot be read.
    """
    listed = _yaml("where", text) if text.startswith("[") else [text]
    if not isinstance(listed, list):
        raise ConfigurationError(f"where: expected conditions, got {text!r}")
    return [_criterion(str(item)) for item in listed]


def _criterion(text: str) -> Json:
    """``age >= 65``, ``ward in [medical,surgical]``, ``age between [40,60]``, ``chol present``."""
    found = re.fullmatch(r"\s*([a-z0-9_-]+)\s*(==|!=|<=|>=|<|>|=|\b[a-z]+\b)\s*(.*?)\s*", text)
    if found is None:
        raise ConfigurationError(
            f"where: cannot read {text!r}",
            remedy="write for example where='age >= 65' or where='ward in [medical,surgical]'",
        )
    name, operator, value = found.groups()
    return {
        "variable": name,
        "operator": _OPERATORS.get(operator, operator),
        "value": _yaml("where", value) if value else None,
    }


def _yaml(key: str, text: str) -> Json:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as failure:
        raise ConfigurationError(
            f"{key}: cannot read {text!r}", remedy="put quotes around special characters"
        ) from failure
