"""Settings of `cohortium analyse`: what is read, what is passed on to the study, and one line for each mistake."""

from __future__ import annotations

import pytest

from experiments.analyse_plans import plan
from experiments.analyse_settings import read_settings
from federation.data.cohort import Criterion
from federation.errors import ConfigurationError
from tests.statistics_bench import CONTRACT


def test_the_study_s_settings_are_passed_on_and_the_rest_is_read() -> None:
    found, rest = read_settings(
        ["study=synthetic", "analysis=glm", "formula=outcome ~ age", "ridge=0.5", "study.options.num_sites=9"]
    )
    assert rest == ["study=synthetic", "study.options.num_sites=9"]
    assert (found.formula, found.ridge, found.aggregation, found.threshold) == ("outcome ~ age", 0.5, "masked", 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age >= 65", {"variable": "age", "operator": "ge", "value": 65}),
        ("male = 1", {"variable": "male", "operator": "eq", "value": 1}),
        ("ward in [medical, cardiac]", {"variable": "ward", "operator": "in", "value": ["medical", "cardiac"]}),
        ("age between [40, 60]", {"variable": "age", "operator": "between", "value": [40, 60]}),
        ("entry-day present", {"variable": "entry-day", "operator": "present", "value": None}),
    ],
)
def test_conditions_read_as_they_are_said(text: str, expected: dict[str, object]) -> None:
    found, _ = read_settings(["analysis=describe", f"where={text}"])
    assert found.where == (Criterion.from_data(expected),)


def test_several_conditions() -> None:
    found, _ = read_settings(["analysis=describe", "where=['age < 65', 'male == 1']"])
    assert [item.operator for item in found.where] == ["lt", "eq"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["analysis=glm", "formla=x"], "unknown setting 'formla': did you mean 'formula'"),
        (["formula=x"], "missing setting 'analysis'"),
        (["analysis=glm"], "analysis=glm needs formula=..."),
        (["analysis=glmm", "formula=x"], "analysis: expected"),
        (["analysis=crosstab", "rows=ward"], "needs columns=..."),
        (["analysis=kaplan_meier", "time=days", "event=event"], "needs grid=..."),
        (["analysis=cox", "formula=~age", "time=days", "event=event"], "or strata=site"),
        (["analysis=penalised_logistic", "formula=~age"], "needs ridge=... above 0"),
        (["analysis=describe", "threshold=0"], "threshold"),
        (["analysis=describe", "confidence=2"], "confidence"),
        (["analysis=describe", "describe"], "expected KEY=VALUE"),
        (["analysis=describe", "where=??"], "where: cannot read"),
    ],
)
def test_a_mistake_is_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["analysis=glm", "formula=ward ~ age"], "outcome that fits family=linear, got ward"),
        (["analysis=glm", "family=logistic", "formula=cost ~ age"], "fits family=logistic, got cost"),
        (["analysis=cox", "formula=died ~ age", "time=days", "event=event", "grid=1"], "no outcome in the formula"),
        (["analysis=cox", "formula=~age", "time=ward", "event=event", "grid=1"], "number as a time, got ward"),
        (["analysis=cox", "formula=~age", "time=days", "event=age", "grid=1"], "binary variable, got age"),
        (["analysis=kaplan_meier", "time=days", "event=event", "grid=0.001"], "grid: expected 1 to 100000"),
        (["analysis=meta", "formula=died ~ age", "term=male"], "term: expected one of"),
        (["analysis=pca", "variables=[ward]"], "numbers for principal components, got ward"),
        (["analysis=crosstab", "rows=ward", "columns=age"], "with levels, got age"),
        (["analysis=mantel_haenszel", "exposure=ward"], "binary variable, got ward"),
    ],
)
def test_what_does_not_fit_the_contract_is_said_before_any_site_is_asked(overrides: list[str], message: str) -> None:
    found, _ = read_settings(overrides)
    with pytest.raises(ConfigurationError) as caught:
        plan(found, CONTRACT)
    assert message in str(caught.value)
