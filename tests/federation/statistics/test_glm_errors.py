"""What makes a regression impossible or unsafe is named: collinear and empty columns, separation, too few patients."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.analyse_formula import read_formula
from federation.errors import InvalidInputError, PrivacyRefusedError, RecordsError, StudyError
from federation.statistics.families import Family
from federation.statistics.glm import fit, solve_glm
from federation.statistics.glm_steps import RegressionModel
from tests.statistics_bench import CONTRACT, deal, draw, parts, solve

SIZE = 400


def run(values, formula: str, *, family: Family = "logistic", outcome: str = "died", size: int = SIZE, **options):
    model = RegressionModel(family=family, outcome=outcome, design=read_formula(formula, CONTRACT).design)
    settings = {"patients": size, "threshold": 5} | options
    return solve(fit(model, **settings), parts(values, deal(size, 4)))


def test_collinear_columns_are_named() -> None:
    values = draw(SIZE)
    values["visits"] = 2 * values["days"] - 3
    with pytest.raises(
        InvalidInputError, match=r"collinear design.*days.*visits|collinear design.*visits.*days"
    ) as caught:
        run(values, "age + visits + days")
    assert "age" not in caught.value.facts["columns"]


@pytest.mark.parametrize("family", ["linear", "logistic", "poisson", "gamma"])
def test_a_level_without_patients_is_named(family: Family) -> None:
    values = draw(SIZE)
    values["ward"] = np.where(values["ward"] == 2, 0.0, values["ward"])
    outcome = {"logistic": "died", "poisson": "visits"}.get(family, "cost")
    with pytest.raises(InvalidInputError, match=r"none for \['ward\[T.cardiac\]'\]"):
        run(values, "age + ward", family=family, outcome=outcome)


def test_a_level_of_few_patients_is_refused_unless_the_threshold_allows_it() -> None:
    values = draw(SIZE)
    rare = np.zeros(SIZE)
    rare[:4], rare[4:200] = 2.0, 1.0
    values["ward"] = np.random.default_rng(0).permutation(rare)
    with pytest.raises(PrivacyRefusedError, match=r"ward\[T.cardiac\]"):
        run(values, "age + ward")
    run(values, "age + ward", family="linear", outcome="cost", threshold=4)


def test_complete_separation_is_an_error_and_ridge_helps() -> None:
    values = draw(SIZE)
    values["died"] = (values["age"] > 60).astype(float)
    with pytest.raises(StudyError, match="separation") as caught:
        run(values, "age + male")
    assert caught.value.facts["reason"] == "separation"
    assert np.isfinite(run(values, "age + male", ridge=1.0).coefficients).all()


def test_quasi_complete_separation_names_the_level() -> None:
    values = draw(SIZE)
    values["died"] = np.where(values["ward"] == 1, 1.0, values["died"])
    with pytest.raises(StudyError, match=r"separation.*ward\[T.surgical\]"):
        run(values, "age + ward")


def test_separation_of_counts() -> None:
    values = draw(SIZE)
    values["visits"] = np.where(values["ward"] == 2, 0.0, values["visits"])
    with pytest.raises(StudyError, match=r"separation.*ward\[T.cardiac\]"):
        run(values, "age + ward", family="poisson", outcome="visits")


def test_more_columns_than_patients_allow() -> None:
    values = draw(12)
    with pytest.raises(InvalidInputError, match="more patients than the 13 columns"):
        run(values, "age*ward*male + lactate", size=12)
    with pytest.raises(PrivacyRefusedError, match="at least 3 patients for each of 6 columns"):
        run(values, "age*ward", size=12)


@pytest.mark.parametrize(("family", "outcome"), [("logistic", "visits"), ("poisson", "age"), ("gamma", "visits")])
def test_an_outcome_that_the_family_does_not_allow(family: Family, outcome: str) -> None:
    values = draw(SIZE)
    with pytest.raises(RecordsError, match=f"{family} model") as caught:
        run(values, "male", family=family, outcome=outcome)
    assert caught.value.variable == outcome


def test_a_model_is_not_compared_with_a_larger_one() -> None:
    large = RegressionModel(family="logistic", outcome="died", design=read_formula("age + male", CONTRACT).design)
    small = large.model_copy(update={"design": read_formula("age", CONTRACT).design})
    with pytest.raises(InvalidInputError, match="fewer columns"):
        solve(
            solve_glm(small, patients=SIZE, threshold=5, confidence=0.95, against=large),
            parts(draw(SIZE), deal(SIZE, 3)),
        )
