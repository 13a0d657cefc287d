"""Formulas become columns with the contract's levels, coded as other software codes them, and are never code."""

from __future__ import annotations

import pytest

from experiments.analyse_formula import read_formula
from federation.errors import ConfigurationError, ManifestError
from tests.statistics_bench import CONTRACT


@pytest.mark.parametrize(
    ("text", "outcome", "names"),
    [
        ("outcome ~ age + male", "died", ("intercept", "age", "male")),
        ("died ~ ward", "died", ("intercept", "ward[T.surgical]", "ward[T.cardiac]")),
        ("cost ~ 0 + ward", "cost", ("ward[medical]", "ward[surgical]", "ward[cardiac]")),
        ("~ log(lactate) + I(age**2)", "", ("intercept", "log(lactate)", "age^2")),
        ("age", "", ("intercept", "age")),
        ("died ~ `entry-day`", "died", ("intercept", "entry-day")),
        ("died ~ 1", "died", ("intercept",)),
        (
            "died ~ age*C(ward)",
            "died",
            ("intercept", "age", "ward[T.surgical]", "ward[T.cardiac]", "age:ward[T.surgical]", "age:ward[T.cardiac]"),
        ),
        (
            "died ~ ward:age",
            "died",
            ("intercept", "ward[medical]:age", "ward[surgical]:age", "ward[cardiac]:age"),
        ),
    ],
)
def test_columns_of_a_formula(text: str, outcome: str, names: tuple[str, ...]) -> None:
    found = read_formula(text, CONTRACT)
    assert (found.outcome, found.design.names) == (outcome, names)


def test_a_cox_model_keeps_the_coding_and_loses_the_intercept() -> None:
    assert read_formula("~ ward", CONTRACT, has_intercept=False).design.names == ("ward[T.surgical]", "ward[T.cardiac]")


@pytest.mark.parametrize(
    "text",
    [
        "died ~ __import__('os').system('true')",
        "died ~ np.log(age)",
        "died ~ age.real",
        "died ~ {age}[0]",
        "died ~ exp(age)",
        "died ~ log(age + male)",
        "died ~ [age]",
        "died ~ age ~ male",
        "died ~ age | male",
        "died ~ .",
        "died ~ I(age**9)",
        "died ~ age +",
        "died ~ (age",
        "died ~ 0",
        "died ~ " + "age + " * 300 + "male",
    ],
)
def test_anything_else_is_refused_before_it_is_evaluated(text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_formula(text, CONTRACT)


@pytest.mark.parametrize("text", ["died ~ weight", "weight ~ age", "died ~ log(ward)"])
def test_a_variable_that_the_contract_lacks_and_a_function_of_levels(text: str) -> None:
    with pytest.raises(ManifestError):
        read_formula(text, CONTRACT)
