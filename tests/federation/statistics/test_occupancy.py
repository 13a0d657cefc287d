"""Occupied beds: cumulants against a slow sum over patients, the distribution against exact convolution."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import ImplausibleValueError, InvalidInputError
from federation.statistics.occupancy import Forecasting, distribution, forecast, interval
from federation.statistics.occupancy_steps import OccupancyStep, knot_name, poisson_binomial_cumulants
from federation.statistics.step import Columns
from tests.statistics_bench import close, parts, solve

KNOTS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
ORIGINS = (6, 10, 11, 15)


def convolved(chances: np.ndarray) -> np.ndarray:
    """Chance of each number of successes, patient by patient."""
    found = np.ones(1)
    for chance in chances:
        found = np.convolve(found, [1 - chance, chance])
    return found


def draw(size: int = 120, seed: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rate = rng.gamma(4.0, 0.12, size)
    values = {
        "admitted": rng.uniform(0, 18, size),
        "stay": np.minimum(rng.exponential(1 / rate), 12.0),
        "site": rng.integers(0, 3, size).astype(float),
    }
    for place, knot in enumerate(KNOTS):
        values[knot_name("model", place)] = np.exp(-rate * knot)
        values[knot_name("usual", place)] = np.full(size, np.exp(-0.4 * knot))
    return values


def step(arrivals: str = "known", *, groups: int = 1) -> OccupancyStep:
    return OccupancyStep.from_data(
        {
            "forecasts": ["model", "usual"],
            "knots": list(KNOTS),
            "origins": list(ORIGINS),
            "horizons": 3,
            "arrivals": arrivals,
            "history": 7,
            "group": "site" if groups > 1 else None,
            "groups": groups,
        }
    )


def survival(values: dict[str, np.ndarray], name: str, row: int, age: float) -> float:
    days = [0.0, *KNOTS]
    chances = [1.0, *(values[knot_name(name, place)][row] for place in range(len(KNOTS)))]
    return 0.0 if age > KNOTS[-1] else float(np.interp(age, days, chances))


def slow_chances(values: dict[str, np.ndarray], name: str, origin: int, ahead: int) -> list[float]:
    """Chance of every patient to be in a bed, one after the other."""
    found = []
    for row, (admitted, stay) in enumerate(zip(values["admitted"], values["stay"], strict=True)):
        if admitted <= origin < admitted + stay:
            now = survival(values, name, row, origin - admitted)
            found.append(survival(values, name, row, origin + ahead - admitted) / now)
        elif origin < admitted <= origin + ahead:
            found.append(survival(values, name, row, origin + ahead - admitted))
    return found


@pytest.mark.parametrize("name", ["model", "usual"])
def test_summed_cumulants_equal_a_slow_sum_over_all_patients(name: str) -> None:
    values = draw()
    columns = parts(values, values["site"].astype(int))
    total = np.sum([step().answer(column) for column in columns], axis=0)
    sums = step().parts(total)
    for place, origin in enumerate(ORIGINS):
        for ahead in (1, 2, 3):
            chances = np.array(slow_chances(values, name, origin, ahead))
            exact, number = convolved(chances), np.arange(len(chances) + 1)
            mean = float(exact @ number)
            central = [float(exact @ (number - mean) ** power) for power in (2, 3)]
            found = sums["cumulants"][("model", "usual").index(name), 0, place, ahead - 1]
            assert close(found, [mean, *central], 1e-7)
            times = origin + ahead
            there = (values["admitted"] <= times) & (times < values["admitted"] + values["stay"])
            assert sums["observed"][0, place, ahead - 1] == there.sum()


@pytest.mark.parametrize("size", [5, 30, 300])
def test_the_distribution_is_close_to_exact_convolution(size: int) -> None:
    rng = np.random.default_rng(size)
    chances = rng.beta(0.8, 1.6, size)
    exact = np.cumsum(convolved(chances))
    cumulants = np.broadcast_to(poisson_binomial_cumulants(chances[:, None])[0], (size + 1, 3))
    found = distribution(cumulants, np.arange(size + 1, dtype=float))
    assert np.abs(found - exact).max() < {5: 0.02, 30: 0.002, 300: 0.0002}[size]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.99])
def test_an_interval_holds_its_level_by_exact_convolution_and_is_not_wider_than_needed(level: float) -> None:
    rng = np.random.default_rng(1)
    for size in (8, 40, 200):
        chances = rng.beta(1.0, 1.5, size)
        exact = convolved(chances)
        lower, upper = (int(end) for end in interval(poisson_binomial_cumulants(chances[:, None])[0], level=level))
        inside = exact[lower : upper + 1].sum()
        assert inside >= level - 0.004
        assert exact[lower + 1 : upper].sum() < level + 0.004


def test_a_monte_carlo_of_the_patients_agrees() -> None:
    values = draw()
    chances = np.array(slow_chances(values, "model", 10, 2))
    draws = (np.random.default_rng(2).random((200_000, len(chances))) < chances).sum(axis=1)
    cumulants = poisson_binomial_cumulants(chances[:, None])[0]
    lower, upper = interval(cumulants, level=0.9)
    # Four standard errors of a share over 200,000 draws.
    share = float(((draws >= lower) & (draws <= upper)).mean())
    exact = convolved(chances)[int(lower) : int(upper) + 1].sum()
    assert abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / 200_000)


def test_certain_patients_have_an_interval_of_one_number() -> None:
    cumulants = poisson_binomial_cumulants(np.array([[1.0], [1.0], [0.0]]))[0]
    assert tuple(float(end) for end in interval(cumulants, level=0.9)) == (2.0, 2.0)


def test_expected_arrivals_add_a_poisson_number_of_the_usual_rate() -> None:
    """A site where one patient a day arrives and stays exponentially: the beds of an M/M/infinity queue."""
    size, rate = 4000, 0.4
    admitted = np.sort(np.random.default_rng(7).uniform(0, 400, size))
    fine = tuple(float(day) / 4 for day in range(1, 121))
    curves = {knot_name("model", place): np.full(size, np.exp(-rate * knot)) for place, knot in enumerate(fine)}
    # Nobody is there at the origin: only who will come counts.
    columns = Columns({"admitted": admitted, "stay": np.zeros(size), **curves}, size)
    only = OccupancyStep(forecasts=("model",), knots=fine, origins=(390,), horizons=5, arrivals="expected", history=365)
    found = only.parts(only.answer(columns))["cumulants"][0, 0, 0]
    per_day = ((admitted > 25) & (admitted <= 390)).sum() / 365
    expected = per_day * (1 - np.exp(-rate * np.arange(1, 6))) / rate
    assert close(found[:, 0], expected, 2e-3)
    assert close(found[:, 1], found[:, 0], 1e-12)
    assert close(found[:, 2], found[:, 0], 1e-12)


def test_lines_of_groups_add_up_to_everybody() -> None:
    values = draw()
    question = Forecasting(
        step=step(groups=3), titles=("ours", "usual"), labels=("a", "b", "c"), level=0.9, threshold=5
    )
    found = solve(forecast(question), parts(values, values["site"].astype(int)))
    days = found.tables[1]
    for score in ("ours", "usual"):
        of = {
            group: [float(str(r[4])) for r in days.rows if r[:2] == (score, group)] for group in ("a", "b", "c", "all")
        }
        assert close(np.sum([of["a"], of["b"], of["c"]], axis=0), of["all"], 1e-9)


def test_days_with_few_patients_show_no_count_but_enter_the_accuracy() -> None:
    values = draw(20)
    question = Forecasting(step=step(), titles=("ours", "usual"), labels=(), level=0.9, threshold=5)
    found = solve(forecast(question), parts(values, values["site"].astype(int)))
    shown = found.tables[1].column("observed")
    assert None in shown
    assert all(count is None or count == 0 or int(str(count)) >= 5 for count in shown)
    assert found.tables[0].column("forecasts made") == [len(ORIGINS)] * 6


@pytest.mark.parametrize(("name", "wrong"), [("stay", -0.5), ("stay", np.nan), ("admitted", np.nan)])
def test_a_stay_that_ends_before_it_begins_is_an_error_with_a_count(name: str, wrong: float) -> None:
    values = draw()
    values[name][:2] = wrong
    with pytest.raises(ImplausibleValueError, match="discharge at or after it, got 2 patients without"):
        step().answer(Columns(values, len(values["stay"])))


def test_empty_wards_cannot_be_judged() -> None:
    values = draw()
    values["stay"][:] = 0.0
    question = Forecasting(step=step(), titles=("ours", "usual"), labels=(), level=0.9, threshold=5)
    with pytest.raises(InvalidInputError, match="occupied beds on the days of the forecast, got none"):
        solve(forecast(question), parts(values, np.zeros(len(values["stay"]), int)))
