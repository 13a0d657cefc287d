"""Curves and log-rank tests equal lifelines and statsmodels on the pooled patients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from federation.errors import ImplausibleValueError, InvalidInputError
from federation.statistics.descriptive_steps import Levels
from federation.statistics.result import Table
from federation.statistics.survival import curves, log_rank
from federation.statistics.survival_steps import Survival, TimeGrid
from tests.statistics_bench import WARDS, close, deal, draw, parts, solve

SIZE = 500
VALUES = draw(SIZE)
SURVIVAL = Survival(time="days", event="event")
LATE = Survival(time="days", event="event", entry="entry-day")
GRID = TimeGrid(width=1.0, points=300)
WARD = Levels(variable="ward", levels=3)


def in_group(table: Table, group: str, column: str) -> np.ndarray:
    chosen = [row[0] == group for row in table.rows]
    return np.array(table.numbers(column))[chosen]


@pytest.mark.parametrize("survival", [SURVIVAL, LATE])
@pytest.mark.parametrize("sites", [3, 30])
def test_curves_intervals_and_hazards_are_those_of_lifelines(survival: Survival, sites: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifelines import KaplanMeierFitter, NelsonAalenFitter

    found = solve(
        curves(survival, GRID, threshold=1, confidence=0.9, group=WARD, names=WARDS), parts(VALUES, deal(SIZE, sites))
    )
    table = found.tables[1]
    for code, group in enumerate(WARDS):
        chosen = VALUES["ward"] == code
        days, event = VALUES["days"][chosen], VALUES["event"][chosen]
        entry = None if survival.entry is None else VALUES["entry-day"][chosen]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = KaplanMeierFitter(alpha=0.1).fit(days, event, entry=entry)
            hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(days, event, entry=entry)
            times = in_group(table, group, "time")
            assert times.tolist() == sorted(set(days[event == 1].tolist()))
            band = expected.confidence_interval_survival_function_.loc[times].to_numpy()
            survivors = expected.survival_function_at_times(times).to_numpy()
            cumulative = hazard.cumulative_hazard_at_times(times).to_numpy()
        inside = (survivors > 0) & (survivors < 1)
        assert np.allclose(in_group(table, group, "survival"), survivors, rtol=1e-9, atol=1e-15)
        shown = np.column_stack([in_group(table, group, "lower"), in_group(table, group, "upper")])
        assert close(shown[inside], band[inside], 1e-9)
        assert close(in_group(table, group, "cumulative hazard"), cumulative, 1e-9)
        assert found.tables[0].rows[code][1:3] == (int(chosen.sum()), int(event.sum()))


def test_by_default_no_event_of_a_single_patient_is_a_step() -> None:
    sites = parts(VALUES, deal(SIZE, 5))
    whole = solve(curves(SURVIVAL, GRID, threshold=1, confidence=0.95), sites).tables[1]
    shown = solve(curves(SURVIVAL, GRID, threshold=5, confidence=0.95), sites).tables[1]
    assert min(shown.numbers("events")) >= 5
    assert all(number % 5 == 0 and number > 0 for number in shown.numbers("at risk"))
    of = dict(zip(whole.numbers("time"), whole.numbers("survival"), strict=True))
    assert [of[time] for time in shown.numbers("time")] == shown.numbers("survival")
    assert len(shown.rows) < len(whole.rows) / 2


def test_a_coarse_grid_is_the_analysis_of_rounded_times() -> None:
    values = dict(VALUES)
    values["days"] = np.ceil(values["days"] / 7) * 7
    rounded = solve(curves(SURVIVAL, GRID, threshold=1, confidence=0.95), parts(values, deal(SIZE, 5)))
    weekly = TimeGrid(width=7.0, points=43)
    found = solve(curves(SURVIVAL, weekly, threshold=1, confidence=0.95), parts(VALUES, deal(SIZE, 5)))
    assert found.tables[1].rows == rounded.tables[1].rows


def test_the_log_rank_test_is_that_of_lifelines() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifelines.statistics import multivariate_logrank_test

        expected = multivariate_logrank_test(VALUES["days"], VALUES["ward"], VALUES["event"])
    found = solve(log_rank(SURVIVAL, WARD, WARDS, threshold=5, grid=GRID), parts(VALUES, deal(SIZE, 8)))
    assert found.figures["chi-squared"] == pytest.approx(expected.test_statistic, rel=1e-9)
    assert found.figures["p"] == pytest.approx(expected.p_value, rel=1e-9)


@pytest.mark.parametrize("by", ["site", "male"])
def test_the_stratified_log_rank_test_is_that_of_statsmodels(by: str) -> None:
    from statsmodels.duration.survfunc import survdiff

    codes = deal(SIZE, 6)
    by_site = by == "site"
    found = solve(
        log_rank(
            SURVIVAL,
            WARD,
            WARDS,
            threshold=5,
            grid=None if by_site else GRID,
            strata=None if by_site else Levels(variable="male", levels=2),
        ),
        parts(VALUES, codes),
    )
    strata = codes if by_site else VALUES["male"]
    statistic, p = survdiff(VALUES["days"], VALUES["event"], VALUES["ward"], strata=strata)
    assert found.figures["chi-squared"] == pytest.approx(statistic, rel=1e-9)
    assert found.figures["p"] == pytest.approx(p, rel=1e-9)


def test_an_empty_group_and_an_empty_stratum_are_named() -> None:
    values = dict(VALUES)
    values["ward"] = np.minimum(values["ward"], 1.0)
    sites = parts(values, deal(SIZE, 4))
    with pytest.raises(InvalidInputError, match=r"none in \['cardiac'\]"):
        solve(curves(SURVIVAL, GRID, threshold=5, confidence=0.95, group=WARD, names=WARDS), sites)
    with pytest.raises(InvalidInputError, match=r"empty stratum: \[3\] of 3"):
        solve(
            log_rank(SURVIVAL, Levels(variable="male", levels=2), ("no", "yes"), threshold=5, grid=GRID, strata=WARD),
            sites,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": -1.0}, "times from 0, got 1 that are negative"),
        ({"entry-day": -2.0}, "times from 0, got 1 that are negative"),
        ({"days": 10.0, "entry-day": 12.0}, "after the entry, got 1 records"),
        ({"days": 10.0, "entry-day": 10.0}, "after the entry, got 1 records"),
    ],
)
def test_impossible_times_are_refused_without_a_value(change: dict[str, float], message: str) -> None:
    values = {name: column.copy() for name, column in VALUES.items()}
    for name, value in change.items():
        values[name][17] = value
    with pytest.raises(ImplausibleValueError, match=message) as caught:
        solve(curves(LATE, GRID, threshold=5, confidence=0.95), parts(values, deal(SIZE, 4)))
    assert "12" not in str(caught.value)
