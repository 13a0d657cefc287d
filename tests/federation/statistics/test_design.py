"""Columns are scaled by public ranges alone, and coefficients and covariance go back exactly."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.analyse_formula import read_factor, read_formula
from federation.errors import ManifestError
from federation.statistics.design import Design
from tests.statistics_bench import CONTRACT, draw

VALUES = draw(50)


def test_predictions_are_the_same_on_scaled_and_plain_columns() -> None:
    design = read_formula("age * ward + log(lactate) + I(visits**2)", CONTRACT).design
    scaled = design.matrix(VALUES, records=50)
    plain = Design(columns=tuple(c.model_copy(update={"centre": 0.0, "scale": 1.0}) for c in design.columns))
    coefficients = np.random.default_rng(1).normal(size=len(design.columns))
    assert np.allclose(
        scaled @ coefficients, plain.matrix(VALUES, records=50) @ (design.unscaled() @ coefficients), rtol=1e-12
    )


def test_scaled_columns_stay_within_one_for_every_plausible_value() -> None:
    design = read_formula("age + lactate + log(lactate) + ward + age:visits + I(days**2)", CONTRACT).design
    extremes = {
        name: np.array([CONTRACT.variable(name).minimum, CONTRACT.variable(name).maximum])
        for name in ("age", "lactate", "visits", "days")
    }
    matrix = design.matrix(extremes | {"ward": np.array([0.0, 2.0])}, records=2)
    assert np.abs(matrix).max() <= 1 + 1e-12


def test_a_site_without_a_level_has_the_same_columns() -> None:
    design = read_formula("ward", CONTRACT).design
    one_ward = design.matrix({"ward": np.zeros(4)}, records=4)
    assert one_ward.tolist() == [[1.0, 0.0, 0.0]] * 4
    assert design.names == ("intercept", "ward[T.surgical]", "ward[T.cardiac]")


@pytest.mark.parametrize("text", ["log(visits)", "sqrt(days)", "log(days)"])
def test_a_function_that_is_not_defined_on_the_whole_range_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="on which"):
        read_factor(text, CONTRACT)


def test_levels_are_no_offset() -> None:
    with pytest.raises(ManifestError, match="a number, got ward with levels"):
        read_factor("ward", CONTRACT)
