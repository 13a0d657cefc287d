"""The Mantel-Haenszel odds ratio, its interval and test equal statsmodels on the strata's tables."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import InvalidInputError
from federation.statistics.association import mantel_haenszel
from federation.statistics.descriptive_steps import Levels
from tests.statistics_bench import deal, draw, parts, solve

SIZE = 800
VALUES = draw(SIZE)


def oracle(codes: np.ndarray):
    from statsmodels.stats.contingency_tables import StratifiedTable

    exposed, died = VALUES["male"], VALUES["died"]
    tables = [
        np.array([[np.sum((codes == c) & (exposed == a) & (died == b)) for b in (1, 0)] for a in (1, 0)], dtype=float)
        for c in np.unique(codes)
    ]
    return StratifiedTable(tables)


@pytest.mark.parametrize("by", ["site", "ward"])
@pytest.mark.parametrize("sites", [3, 25])
def test_ratio_error_interval_and_test_are_those_of_statsmodels(by: str, sites: int) -> None:
    codes = deal(SIZE, sites)
    strata = None if by == "site" else Levels(variable="ward", levels=3)
    found = solve(mantel_haenszel("male", "died", threshold=5, confidence=0.95, strata=strata), parts(VALUES, codes))
    expected = oracle(codes if by == "site" else VALUES["ward"])
    ratio, log_ratio, error, lower, upper = found.tables[0].rows[0]
    assert ratio == pytest.approx(expected.oddsratio_pooled, rel=1e-10)
    assert log_ratio == pytest.approx(np.log(expected.oddsratio_pooled), rel=1e-9)
    assert error == pytest.approx(expected.logodds_pooled_se, rel=1e-10)
    assert (lower, upper) == pytest.approx(expected.oddsratio_pooled_confint(), rel=1e-9)
    test = expected.test_null_odds(correction=False)
    assert found.figures["chi-squared"] == pytest.approx(test.statistic, rel=1e-9)
    assert found.figures["p"] == pytest.approx(test.pvalue, rel=1e-9)


def test_an_empty_stratum_is_named() -> None:
    values = VALUES | {"ward": np.minimum(VALUES["ward"], 1.0)}
    with pytest.raises(InvalidInputError, match=r"empty stratum: \[3\] of 3"):
        solve(
            mantel_haenszel("male", "died", threshold=5, confidence=0.95, strata=Levels(variable="ward", levels=3)),
            parts(values, deal(SIZE, 4)),
        )


def test_a_few_exposed_patients_are_not_compared() -> None:
    values = VALUES | {"male": (np.arange(SIZE) < 4).astype(float)}
    with pytest.raises(InvalidInputError, match="at least 5 exposed"):
        solve(mantel_haenszel("male", "died", threshold=5, confidence=0.95), parts(values, deal(SIZE, 4)))
