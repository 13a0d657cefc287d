"""The filter against dp-accounting over adaptive sequences: the cap is never passed, and is nearly reached."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from federation.errors import InvalidInputError
from federation.privacy.accounting import NOTHING, add, cost_of
from federation.privacy.events import DiscreteGaussian, DiscreteLaplace, PrivacyEvent, SubsampledGaussian
from federation.privacy.randomness import public_streams
from federation.privacy.renyi_filter import RenyiFilter

_SETTINGS = 200
"""Different pairs of noise and sampling in the long run: one curve of dp-accounting takes 70 ms."""


def _proposal(generator: np.random.Generator, *, strength: float, settings: np.random.Generator) -> PrivacyEvent:
    if generator.integers(2):
        return SubsampledGaussian(
            noise_multiplier=round(float(settings.uniform(0.8, 6)) * strength, 4),
            sampling_numerator=int(2**53 * settings.uniform(0.001, 1)),
            steps=int(generator.integers(1, 30)),
        )
    return DiscreteGaussian(
        sensitivity_squared=int(generator.integers(1, 9)), variance=int(generator.integers(40, 4000) * strength)
    )


def _exhausted(seed: int, *, settings: int | None = None) -> tuple[RenyiFilter, list[PrivacyEvent]]:
    """Propose events, ever weaker ones once refused, until the filter admits next to nothing.

    With `settings`, noise and sampling come from that many pairs, the same for every seed; the order, the steps,
    the other events, the cap and delta remain the seed's.
    """
    generator = public_streams("filter", seed).stream("proposals")
    cap = RenyiFilter(
        epsilon_cap=float(generator.choice([0.5, 1, 2, 4, 8])), delta=float(10.0 ** -generator.integers(4, 8))
    )
    spent, admitted, strength = NOTHING, [], 1.0
    for _ in range(400):
        pairs = generator
        if settings is not None:
            pairs = public_streams("filter-settings", int(generator.integers(settings))).stream("pair")
        event = _proposal(generator, strength=strength, settings=pairs)
        charge = cost_of(event)
        if cap.admits(spent, charge):
            spent = add(spent, charge)
            admitted.append(event)
        else:
            strength = min(strength * 1.5, 60.0)
        if cap.remaining(spent) < 0.002 * cap.epsilon_cap:
            break
    return cap, admitted


def _rdp_of_dp_accounting(events: list[PrivacyEvent], delta: float) -> float:
    from dp_accounting import dp_event
    from dp_accounting.rdp import rdp_privacy_accountant

    accountant = rdp_privacy_accountant.RdpAccountant()
    for event in events:
        match event:
            case SubsampledGaussian():
                gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
                probability = event.sampling_numerator / 2**53
                accountant.compose(dp_event.PoissonSampledDpEvent(probability, gaussian), event.steps)
            case DiscreteGaussian():
                accountant.compose(dp_event.GaussianDpEvent(math.sqrt(event.variance / event.sensitivity_squared)))
    return accountant.get_epsilon(delta)


@functools.cache
def _curve_of_dp_accounting(noise_multiplier: float, probability: float) -> tuple[float, ...]:
    """dp-accounting's Rényi divergences of one step, at its own orders; composing them is adding them."""
    from dp_accounting import dp_event
    from dp_accounting.rdp import rdp_privacy_accountant

    accountant = rdp_privacy_accountant.RdpAccountant()
    gaussian = dp_event.GaussianDpEvent(noise_multiplier)
    accountant.compose(dp_event.PoissonSampledDpEvent(probability, gaussian))
    return tuple(accountant._rdp)  # dp-accounting gives it no other name


def _sum_of_curves(events: list[PrivacyEvent], delta: float) -> float:
    from dp_accounting.rdp import rdp_privacy_accountant

    orders = np.array(rdp_privacy_accountant.DEFAULT_RDP_ORDERS)
    total = np.zeros(len(orders))
    for event in events:
        match event:
            case SubsampledGaussian():
                probability = event.sampling_numerator / 2**53
                total += event.steps * np.array(_curve_of_dp_accounting(event.noise_multiplier, probability))
            case DiscreteGaussian():
                total += orders * event.sensitivity_squared / (2 * event.variance)
    return float(rdp_privacy_accountant.compute_epsilon(orders.tolist(), total.tolist(), delta)[0])


def _check(cap: RenyiFilter, theirs: float) -> None:
    assert theirs <= cap.epsilon_cap * (1 + 1e-9), "the cap is passed"
    assert theirs >= 0.99 * cap.epsilon_cap, "more than 1 % of the cap was withheld"


@pytest.mark.parametrize("seed", range(12))
def test_cap_holds_and_is_used(seed: int) -> None:
    cap, admitted = _exhausted(seed)
    theirs = _rdp_of_dp_accounting(admitted, cap.delta)
    _check(cap, theirs)
    assert _sum_of_curves(admitted, cap.delta) == pytest.approx(theirs, rel=1e-9), "the long run's oracle is another"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", range(4))
def test_cap_holds_and_is_used_in_ten_thousand_sequences(block: int) -> None:
    for seed in range(2500 * block, 2500 * block + 2500):
        cap, admitted = _exhausted(1000 + seed, settings=_SETTINGS)
        _check(cap, _sum_of_curves(admitted, cap.delta))


def test_refusal_is_of_the_release_that_would_pass_the_cap() -> None:
    cap = RenyiFilter(epsilon_cap=1.0, delta=1e-5)
    charge = cost_of(DiscreteGaussian(sensitivity_squared=1, variance=400))
    spent, admitted = NOTHING, 0
    while cap.admits(spent, charge):
        spent = add(spent, charge)
        admitted += 1
    assert cap.spent(spent) <= 1.0 < cap.spent(add(spent, charge))
    assert admitted > 5
    assert cap.remaining(spent) == pytest.approx(1.0 - cap.spent(spent))
    assert cap.remaining(add(spent, charge)) == 0.0


def test_one_order_never_admits_more_than_the_grid() -> None:
    charge = cost_of(SubsampledGaussian(noise_multiplier=1.2, sampling_numerator=2**50, steps=10))
    grid, single = RenyiFilter(2.0, 1e-5), RenyiFilter(2.0, 1e-5, order=12.0)
    spent = NOTHING
    while single.admits(spent, charge):
        assert grid.admits(spent, charge)
        spent = add(spent, charge)
    assert single.spent(spent) >= grid.spent(spent)


@pytest.mark.parametrize(
    ("cap", "delta", "order"),
    [(0.0, 1e-5, None), (math.inf, 1e-5, None), (1.0, 0.0, None), (1.0, 1.0, None), (1.0, 1e-5, 1.05)],
)
def test_refuses_terms_out_of_range(cap: float, delta: float, order: float | None) -> None:
    with pytest.raises(InvalidInputError):
        RenyiFilter(cap, delta, order=order)


def test_nothing_spent_is_nothing() -> None:
    assert RenyiFilter(1.0, 1e-5, order=2.0).spent(NOTHING) == 0.0
    assert RenyiFilter(1.0, 1e-5).remaining(NOTHING) == 1.0


def test_kinds_share_one_cap() -> None:
    """Training, statistics with either noise: the order of the charges does not matter, and none is forgotten."""
    cap = RenyiFilter(1.0, 1e-5)
    charges = [
        cost_of(DiscreteLaplace(sensitivity=1, scale=10)),
        cost_of(DiscreteGaussian(sensitivity_squared=1, variance=400)),
        cost_of(SubsampledGaussian(noise_multiplier=3.0, sampling_numerator=2**50, steps=20)),
    ]
    forwards, backwards = NOTHING, NOTHING
    for charge in charges:
        assert cap.spent(add(forwards, charge)) > cap.spent(forwards)
        forwards = add(forwards, charge)
    for charge in reversed(charges):
        backwards = add(backwards, charge)
    assert forwards == backwards
