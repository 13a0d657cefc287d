"""A filter with one named order counts that order only, whatever another would prove."""

from __future__ import annotations

import math

import numpy as np
import pytest

from federation.privacy.accounting import UNBOUNDED, Cost, cost_of, epsilon_by_order
from federation.privacy.events import DiscreteGaussian, SubsampledGaussian
from federation.privacy.rdp_curves import ORDERS
from federation.privacy.renyi_filter import RenyiFilter

DELTA = 1e-5
CHARGE = cost_of(SubsampledGaussian(noise_multiplier=1.5, sampling_numerator=2**50, steps=50))


@pytest.mark.parametrize("place", [0, 17, 98, 120, len(ORDERS) - 1])
def test_the_named_order_alone_is_spent(place: int) -> None:
    expected = float(epsilon_by_order(CHARGE, delta=DELTA)[place])
    assert RenyiFilter(8.0, DELTA, order=float(ORDERS[place])).spent(CHARGE) == expected


def test_a_release_that_another_order_would_admit_is_refused() -> None:
    grid = RenyiFilter(epsilon_cap=1e9, delta=DELTA).spent(CHARGE)
    far = 2.0
    between = (grid + RenyiFilter(1e9, DELTA, order=far).spent(CHARGE)) / 2
    assert RenyiFilter(between, DELTA).admits((0,) * len(ORDERS), CHARGE)
    assert not RenyiFilter(between, DELTA, order=far).admits((0,) * len(ORDERS), CHARGE)


def test_an_order_without_bound_admits_nothing_though_others_would() -> None:
    lost: Cost = (UNBOUNDED, *CHARGE[1:])
    assert math.isinf(RenyiFilter(8.0, DELTA, order=float(ORDERS[0])).spent(lost))
    assert math.isfinite(RenyiFilter(8.0, DELTA).spent(lost))


def test_a_smaller_delta_spends_more() -> None:
    charge = cost_of(DiscreteGaussian(sensitivity_squared=1, variance=25))
    spent = [RenyiFilter(8.0, delta).spent(charge) for delta in (1e-3, 1e-6, 1e-9)]
    assert np.all(np.diff(spent) > 0.1)
