"""Who holds which patients, and in which order, changes no result: every analysis is one of all patients together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.analyse_plans import plan
from experiments.analyse_settings import read_settings
from federation.statistics.result import Findings
from tests.statistics_bench import CONTRACT, draw, parts, solve

SIZE = 260
VALUES = draw(SIZE)
ANALYSES = {
    "describe": ["analysis=describe", "bins=50"],
    "crosstab": ["analysis=crosstab", "rows=ward", "columns=died"],
    "glm": ["analysis=glm", "formula=died ~ age + male + ward"],
    "gamma": ["analysis=glm", "family=gamma", "formula=cost ~ age + ward"],
    "penalised": ["analysis=penalised_logistic", "ridge=2", "formula=died ~ age + ward"],
    "kaplan_meier": ["analysis=kaplan_meier", "time=days", "event=event", "grid=1", "group=male"],
    "log_rank": ["analysis=log_rank", "time=days", "event=event", "grid=1", "group=ward"],
    "cox": ["analysis=cox", "formula=~ age + male", "time=days", "event=event", "entry=entry-day", "grid=1"],
    "mantel_haenszel": ["analysis=mantel_haenszel", "exposure=male", "strata=ward"],
    "pca": ["analysis=pca", "variables=[age,lactate,weeks]"],
}


def result(name: str, codes: np.ndarray, order: np.ndarray) -> Findings:
    chosen, _ = read_settings(ANALYSES[name])
    values = {column: numbers[order] for column, numbers in VALUES.items()}
    return solve(plan(chosen, CONTRACT).solver(SIZE), parts(values, codes[order]))


def same(one: Findings, other: Findings) -> bool:
    def numbers(findings: Findings) -> list[float]:
        cells = [cell for table in findings.tables for row in table.rows for cell in row]
        return [
            np.nan if cell is None else cell
            for cell in [*cells, *findings.figures.values()]
            if not isinstance(cell, str)
        ]

    texts = [[row[0] for row in table.rows] for table in one.tables] == [
        [row[0] for row in t.rows] for t in other.tables
    ]
    return texts and np.allclose(numbers(one), numbers(other), rtol=1e-9, atol=1e-11, equal_nan=True)


@pytest.mark.parametrize("name", list(ANALYSES))
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31 - 1), sites=st.integers(2, 12))
def test_neither_partition_nor_order_changes_the_result(name: str, seed: int, sites: int) -> None:
    rng = np.random.default_rng(seed)
    together = result(name, np.zeros(SIZE, dtype=int), np.arange(SIZE))
    assert same(result(name, rng.integers(0, sites, SIZE), rng.permutation(SIZE)), together)


@pytest.mark.parametrize("name", list(ANALYSES))
def test_splitting_a_hospital_in_two_changes_nothing(name: str) -> None:
    codes = np.arange(SIZE) % 3
    split = np.where((codes == 0) & (np.arange(SIZE) > SIZE // 2), 3, codes)
    order = np.arange(SIZE)
    assert same(result(name, split, order), result(name, codes, order))


def test_the_comparison_notices_a_different_result() -> None:
    order = np.arange(SIZE)
    codes = np.arange(SIZE) % 3
    fewer = result("glm", codes, order[:-1])
    assert not same(fewer, result("glm", codes, order))
