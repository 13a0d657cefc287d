"""A patient's vector is the same to the last bit whoever else is in the sum: their coming or going rounds nobody else differently."""

from __future__ import annotations

import numpy as np
import pytest

from federation.statistics.design import linear_predictor
from federation.statistics.step import Columns
from tests.federation.statistics.private.test_private_steps import ANALYSES, at_zero, portions_of
from tests.statistics_bench import draw

RECORDS = 203
VALUES = draw(RECORDS)


def columns(rows: np.ndarray) -> Columns:
    return Columns(values={name: column[rows] for name, column in VALUES.items()}, records=len(rows))


@pytest.mark.parametrize("name", list(ANALYSES))
def test_a_vector_does_not_depend_on_who_else_is_there_or_where(name: str) -> None:
    for portion in portions_of(name):
        asked = portion.model_copy(update={"step": at_zero(portion.step)})
        everybody = asked.vectors(columns(np.arange(RECORDS)))
        for rows in (np.arange(1, RECORDS), np.arange(RECORDS)[::-1], np.arange(0, RECORDS, 7), np.array([5])):
            assert np.array_equal(asked.vectors(columns(rows)), everybody[rows])


def test_rows_times_coefficients_do_not_depend_on_the_other_rows() -> None:
    generator = np.random.default_rng(2)
    design, coefficients = generator.normal(size=(1001, 37)), generator.normal(size=37)
    whole = linear_predictor(design, coefficients.tolist())
    np.testing.assert_allclose(whole, design @ coefficients, rtol=0, atol=1e-12)
    for place in (0, 1, 500, 1000):
        assert linear_predictor(design[place : place + 1], coefficients.tolist())[0] == whole[place]
