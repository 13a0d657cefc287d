"""Descriptive tables equal pandas and SciPy on the pooled patients."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import ConfigurationError
from federation.statistics.descriptive import cross_tabulate, describe, level_names, quantile_grid
from tests.statistics_bench import CONTRACT, close, deal, draw, parts, solve

SIZE = 700
VALUES = draw(SIZE)
NUMBERS = ("age", "lactate", "visits", "cost", "weeks")


def with_missing() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    values = dict(VALUES)
    for name in (*NUMBERS, "ward"):
        values[name] = np.where(rng.random(SIZE) < 0.1, np.nan, values[name])
    return values


def described(values, *, sites: int = 6, **options):
    variables = tuple(CONTRACT.variable(name) for name in (*NUMBERS, "ward", "male"))
    return solve(describe(variables, patients=SIZE, threshold=5, **options), parts(values, deal(SIZE, sites)))


@pytest.mark.parametrize("sites", [3, 40])
def test_counts_means_variances_and_skewness_are_the_pooled_ones(sites: int) -> None:
    from scipy import stats

    values = with_missing()
    table = described(values, sites=sites).tables[0]
    known = [values[name][~np.isnan(values[name])] for name in NUMBERS]
    assert table.numbers("known") == [len(column) for column in known]
    assert table.numbers("missing") == [SIZE - len(column) for column in known]
    assert close(table.numbers("mean"), [column.mean() for column in known], 1e-12)
    assert close(table.numbers("variance"), [column.var(ddof=1) for column in known], 1e-11)
    assert close(table.numbers("standard deviation"), [column.std(ddof=1) for column in known], 1e-11)
    assert close(table.numbers("skewness"), [stats.skew(column, bias=False) for column in known], 1e-9)


def test_quantiles_of_whole_numbers_are_exact_and_others_within_a_bin() -> None:
    shares = (0.1, 0.25, 0.5, 0.75, 0.9)
    table = described(VALUES, quantiles=shares, bins=2000).tables[0]
    for row, name in zip(table.rows, NUMBERS, strict=True):
        width = quantile_grid(CONTRACT.variable(name), bins=2000).width
        expected = np.quantile(VALUES[name], shares, method="inverted_cdf")
        found = np.array(row[-5:], dtype=float)
        assert np.all(np.abs(found - expected) <= (0 if name == "visits" else width)), name


def test_quantiles_near_the_ends_are_not_shown() -> None:
    table = described(VALUES, quantiles=(0.001, 0.5, 0.999)).tables[0]
    assert all(row[-3] is None and row[-1] is None and row[-2] is not None for row in table.rows)


def test_levels_are_counted() -> None:
    values = with_missing()
    rows = {(row[0], row[1]): row[2] for row in described(values).tables[1].rows}
    assert rows["ward", "surgical"] == int((values["ward"] == 1).sum())
    assert rows["ward", "(missing)"] == int(np.isnan(values["ward"]).sum())
    assert rows["male", "yes"] == int(values["male"].sum())


def test_one_missing_value_is_not_told() -> None:
    values = dict(VALUES)
    values["age"] = np.where(np.arange(SIZE) == 3, np.nan, values["age"])
    values["ward"] = values["age"] * 0 + values["ward"]
    numbers, levels = described(values).tables
    assert numbers.rows[0][1:3] == (None, None)
    of_ward = [row[2] for row in levels.rows if row[0] == "ward"]
    assert of_ward[-1] is None
    assert sum(cell is None for cell in of_ward) == 2


def test_a_cross_tabulation_and_its_test() -> None:
    from scipy import stats

    found = solve(
        cross_tabulate(CONTRACT.variable("ward"), CONTRACT.variable("died"), threshold=5),
        parts(VALUES, deal(SIZE, 9)),
    )
    counts = np.zeros((3, 2))
    np.add.at(counts, (VALUES["ward"].astype(int), VALUES["died"].astype(int)), 1)
    shown = np.array([row[1:] for row in found.tables[0].rows], dtype=float)
    assert np.array_equal(shown[:3, :2], counts)
    assert np.array_equal(shown[3], [*counts.sum(axis=0), SIZE])
    expected = stats.chi2_contingency(counts, correction=False)
    assert found.figures["chi-squared"] == pytest.approx(expected.statistic, rel=1e-12)
    assert found.figures["p"] == pytest.approx(expected.pvalue, rel=1e-9)


def test_a_number_has_no_levels() -> None:
    with pytest.raises(ConfigurationError, match="with levels, got age"):
        level_names(CONTRACT.variable("age"))
