"""Curves of stay from each kind of prediction, against the distributions they stand for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from experiments.operations.curves_of_stay import (
    TAIL_DAYS,
    curve_at,
    curve_of_bands,
    curve_of_counts,
    curve_of_quantiles,
    exponential_curve,
    knots_up_to,
    observed_curve,
    time_of,
)
from experiments.operations.predicted_stays import expected_days

KNOTS = knots_up_to(60.0)
ENDS = (1.0, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0)


def test_knots_are_every_day_of_two_weeks_and_end_at_the_longest() -> None:
    assert KNOTS[:14] == tuple(float(day) for day in range(1, 15))
    assert KNOTS[-1] == 60.0
    assert all(low < high for low, high in itertools.pairwise(KNOTS))


def test_bands_of_an_exponential_stay_give_its_curve() -> None:
    beyond = np.exp(-np.array([0.0, *ENDS]) / TAIL_DAYS)
    chances = np.array([*(beyond[:-1] - beyond[1:]), beyond[-1]])
    found = curve_of_bands(chances[None], ends=ENDS, knots=KNOTS)[0]
    assert np.allclose(found, np.exp(-np.array(KNOTS) / TAIL_DAYS), rtol=1e-9)


def test_band_chances_are_met_at_the_ends_and_need_not_add_up_to_one() -> None:
    rng = np.random.default_rng(1)
    chances = rng.dirichlet(np.ones(8), 20)
    found = curve_of_bands(3 * chances, ends=ENDS, knots=KNOTS)
    for place, end in enumerate(ENDS):
        assert np.allclose(found[:, KNOTS.index(end)], 1 - chances[:, : place + 1].sum(axis=1), atol=1e-9)
    assert (np.diff(found, axis=1) <= 1e-12).all()


def test_counts_are_poisson_days_completed() -> None:
    rates = np.array([0.3, 2.0, 9.0])
    found = curve_of_counts(rates, knots=KNOTS)
    draws = np.random.default_rng(2).poisson(rates[:, None], (3, 200_000))
    for place, knot in enumerate((1.0, 2.0, 5.0)):
        assert np.allclose(found[:, KNOTS.index(knot)], (draws >= knot).mean(axis=1), atol=0.006), place
    # A stay of N completed days is about half a day longer.
    assert np.allclose(expected_days(found, knots=KNOTS), rates + 0.5, atol=0.05)


def test_quantiles_are_met_and_the_tail_falls_as_between_the_last_two() -> None:
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    quantiles = stats.expon(scale=3.0).ppf(levels)
    found = curve_of_quantiles(quantiles[None], levels=levels, knots=KNOTS)
    assert np.allclose(time_of(found, 0.5, knots=KNOTS), quantiles[2], atol=0.1)
    later = [place for place, knot in enumerate(KNOTS) if knot > quantiles[-1]]
    assert np.allclose(found[0, later], np.exp(-np.array(KNOTS)[later] / 3.0), rtol=1e-9)


def test_crossing_and_negative_quantiles_still_give_a_falling_curve() -> None:
    wrong = np.array([[3.0, 1.0, 2.0, 2.0, 2.0], [-1.0, -0.5, 0.0, 0.0, 0.0]])
    found = curve_of_quantiles(wrong, levels=(0.1, 0.25, 0.5, 0.75, 0.9), knots=KNOTS)
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=1) <= 1e-12).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_hazards_reach_their_edges() -> None:
    beyond = np.array([[0.8, 0.3, 0.05]])
    found = curve_at(beyond, edges=(1.0, 4.0, 60.0), knots=KNOTS)
    assert found[0, KNOTS.index(1.0)] == pytest.approx(0.8)
    assert found[0, KNOTS.index(4.0)] == pytest.approx(0.3)
    assert found[0, -1] == pytest.approx(0.05)
    assert found[0, KNOTS.index(2.0)] == pytest.approx(0.8 * (0.3 / 0.8) ** (1 / 3))


def test_past_patients_curve_counts_who_was_still_there() -> None:
    assert observed_curve(np.array([0.5, 1.0, 2.5, 2.5]), knots=(1.0, 2.0, 3.0)).tolist() == [0.5, 0.5, 0.0]


def test_the_mean_stays_area_is_its_mean() -> None:
    curve = exponential_curve(2.0, knots=KNOTS)
    # Straight lines lie above a convex curve.
    assert expected_days(curve[None], knots=KNOTS)[0] == pytest.approx(2.0, rel=0.03)


def test_no_patients_give_no_curves() -> None:
    nobody = np.zeros((0, 8))
    assert curve_of_bands(nobody, ends=ENDS, knots=KNOTS).shape == (0, len(KNOTS))
    assert time_of(np.zeros((0, len(KNOTS))), 0.5, knots=KNOTS).shape == (0,)
