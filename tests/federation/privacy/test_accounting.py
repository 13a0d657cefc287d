"""The accountant against three others, against the definition, and against what it must refuse."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.privacy.accounting import NOTHING, add, cost_of, epsilon_of, epsilon_of_cost, round_event, spent
from federation.privacy.events import DiscreteGaussian, DiscreteLaplace, PrivacyEvent, SubsampledGaussian
from federation.privacy.promise import MechanismSpec
from federation.privacy.rdp_curves import ORDERS, discrete_gaussian, pure, subsampled_gaussian
from tests.vectors.accounting_settings import SETTINGS, VECTORS


def _event(noise: float, numerator: int, steps: int) -> PrivacyEvent:
    return SubsampledGaussian(noise_multiplier=noise, sampling_numerator=numerator, steps=steps)


def test_golden_values_cover_the_settings() -> None:
    rows = json.loads(VECTORS.read_text())
    written = [(r["noise_multiplier"], r["sampling_numerator"], r["steps"], r["delta"]) for r in rows]
    assert written == list(SETTINGS)
    assert len(rows) >= 20


@pytest.mark.parametrize(
    "row", json.loads(VECTORS.read_text()), ids=lambda row: f"{row['noise_multiplier']}-{row['steps']}"
)
def test_equals_golden_values_and_lies_above_the_loss_distribution(row: dict[str, float]) -> None:
    event = _event(row["noise_multiplier"], int(row["sampling_numerator"]), int(row["steps"]))
    epsilon = epsilon_of([event], delta=row["delta"])
    assert epsilon == pytest.approx(row["rdp_epsilon"], abs=1e-6, rel=1e-9)
    assert epsilon >= row["pld_epsilon"]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s[0]}-{s[2]}")
def test_equals_dp_accounting_as_installed(setting: tuple[float, int, int, float]) -> None:
    from dp_accounting import dp_event
    from dp_accounting.pld import pld_privacy_accountant
    from dp_accounting.rdp import rdp_privacy_accountant

    noise, numerator, steps, delta = setting
    theirs = dp_event.PoissonSampledDpEvent(numerator / 2**53, dp_event.GaussianDpEvent(noise))
    rdp = rdp_privacy_accountant.RdpAccountant().compose(theirs, steps).get_epsilon(delta)
    pld = pld_privacy_accountant.PLDAccountant().compose(theirs, steps).get_epsilon(delta)
    ours = epsilon_of([_event(noise, numerator, steps)], delta=delta)
    assert ours == pytest.approx(rdp, abs=1e-3)
    assert ours >= rdp - 1e-12, "never rounded below the reference"
    assert ours >= pld


def test_order_grid_is_dp_accountings() -> None:
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    np.testing.assert_array_equal(ORDERS, DEFAULT_RDP_ORDERS)
    with pytest.raises(ValueError, match="read-only"):
        ORDERS[0] = 2.0


@pytest.mark.parametrize(("noise", "numerator"), [(1.1, 2**53 // 100), (0.8, 2**53 // 10), (3.0, 2**52)])
def test_whole_orders_equal_opacus_and_fractional_ones_bound_it(noise: float, numerator: int) -> None:
    from opacus.accountants.analysis.rdp import compute_rdp

    curve = subsampled_gaussian(numerator, noise)
    theirs = np.asarray(
        compute_rdp(q=numerator / 2**53, noise_multiplier=noise, steps=1, orders=ORDERS[ORDERS <= 256].tolist())
    )
    ours = curve[ORDERS <= 256]
    whole = ORDERS[ORDERS <= 256] % 1 == 0
    np.testing.assert_allclose(ours[whole], theirs[whole], rtol=1e-8, atol=1e-12)
    assert np.all(ours >= theirs - 1e-11), "the series is summed by magnitude: an upper bound"


@pytest.mark.parametrize(
    ("noise", "probability", "order"), [(1.5, 1 / 8, 2.5), (1.0, 1 / 8, 3.0), (2.0, 1 / 2, 4.7), (4.0, 1 / 64, 12.0)]
)
def test_curve_bounds_the_definition(noise: float, probability: float, order: float) -> None:
    def integrand(z: float) -> float:
        ratio = (1 - probability) + probability * math.exp((2 * z - 1) / (2 * noise**2))
        return math.exp(-(z**2) / (2 * noise**2)) / (noise * math.sqrt(2 * math.pi)) * ratio**order

    moment, _ = integrate.quad(integrand, -40 * noise, 40 * noise + order, epsabs=1e-14, epsrel=1e-12, limit=500)
    truth = math.log(moment) / (order - 1)
    ours = float(subsampled_gaussian(int(probability * 2**53), noise)[np.argmin(np.abs(ORDERS - order))])
    assert truth - 1e-12 <= ours <= truth * 1.05


def test_full_sampling_is_the_gaussian_mechanism_exactly() -> None:
    np.testing.assert_allclose(subsampled_gaussian(2**53, 2.5), ORDERS / (2 * 2.5**2), rtol=1e-12)


def test_rounds_are_composed_not_started_afresh() -> None:
    # Re-creating Opacus' engine each round reports 3.79 three times where the truth is 5.41 (reference, section 0).
    mechanism = MechanismSpec(
        clipping_norm=1.0,
        noise_multiplier=1.0,
        sampling_numerator=2**53 // 8,
        steps_per_round=64,
        rounds=3,
        divisor=8.0,
    )
    after = [spent(mechanism, rounds_done=done, delta=1e-5).epsilon for done in range(4)]
    assert after[0] == 0.0
    assert after == sorted(after)
    assert after[3] == epsilon_of([round_event(mechanism)] * 3, delta=1e-5)
    assert after[3] == pytest.approx(epsilon_of([_event(1.0, 2**53 // 8, 192)], delta=1e-5), abs=1e-6)
    assert after[3] > 1.2 * after[1], "a fresh accountant each round would report the same figure again"


def test_heterogeneous_events_compose_like_dp_accounting() -> None:
    from dp_accounting import dp_event
    from dp_accounting.rdp import rdp_privacy_accountant

    events = [(1.1, 2**53 // 50, 500), (4.0, 2**53, 3), (2.0, 2**51, 40)]
    theirs = rdp_privacy_accountant.RdpAccountant()
    for noise, numerator, steps in events:
        theirs.compose(dp_event.PoissonSampledDpEvent(numerator / 2**53, dp_event.GaussianDpEvent(noise)), steps)
    ours = epsilon_of([_event(*event) for event in events], delta=1e-5)
    assert ours == pytest.approx(theirs.get_epsilon(1e-5), abs=1e-6)
    assert ours == epsilon_of([_event(*event) for event in reversed(events)], delta=1e-5)


def test_nothing_done_costs_nothing() -> None:
    assert epsilon_of([], delta=1e-5) == 0.0


def test_unknown_event_is_refused_not_skipped() -> None:
    unknown = _event(1.0, 2**52, 1).model_copy(update={"kind": "laplace"})
    with pytest.raises(PrivacyRefusedError, match="laplace"):
        epsilon_of([_event(1.0, 2**52, 1), unknown], delta=1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_outside_its_range_is_refused(delta: float) -> None:
    with pytest.raises(InvalidInputError, match="delta"):
        epsilon_of([], delta=delta)


def test_rounds_outside_the_study_are_refused() -> None:
    mechanism = MechanismSpec(
        clipping_norm=1.0, noise_multiplier=1.0, sampling_numerator=2**50, steps_per_round=1, rounds=2, divisor=1.0
    )
    for rounds_done in (-1, 3):
        with pytest.raises(InvalidInputError, match="rounds_done"):
            spent(mechanism, rounds_done=rounds_done, delta=1e-5)


@pytest.mark.parametrize("numerator", [2**52, 2**53])
def test_noise_too_small_for_any_guarantee_is_refused(numerator: int) -> None:
    mechanism = MechanismSpec(
        clipping_norm=1.0,
        noise_multiplier=1e-200,
        sampling_numerator=numerator,
        steps_per_round=1,
        rounds=1,
        divisor=1.0,
    )
    assert epsilon_of([round_event(mechanism)], delta=1e-5) == math.inf
    with pytest.raises(PrivacyRefusedError, match="finite epsilon"):
        spent(mechanism, rounds_done=1, delta=1e-5)


@given(
    noise=st.floats(0.4, 20),
    numerator=st.integers(2**40, 2**53),
    steps=st.integers(1, 5000),
    delta=st.sampled_from([1e-8, 1e-5, 1e-3, 0.1]),
)
def test_more_noise_costs_less_and_more_steps_cost_more(noise: float, numerator: int, steps: int, delta: float) -> None:
    epsilon = epsilon_of([_event(noise, numerator, steps)], delta=delta)
    slack = 1e-9 * (1 + epsilon)
    assert epsilon_of([_event(noise * 1.05, numerator, steps)], delta=delta) <= epsilon + slack
    assert epsilon_of([_event(noise, numerator, steps + 1)], delta=delta) >= epsilon - slack
    assert epsilon_of([_event(noise, max(1, numerator // 2), steps)], delta=delta) <= epsilon + slack
    assert math.isfinite(epsilon)
    assert epsilon >= 0


def test_costs_are_rounded_up_to_whole_nano_units() -> None:
    event = _event(1.3, 2**50, 7)
    exact = subsampled_gaussian(2**50, 1.3) * 7 * 1e9
    cost = cost_of(event)
    assert all(isinstance(value, int) for value in cost)
    finite = np.isfinite(exact)
    above = np.array(cost, dtype=np.float64)[finite] - exact[finite]
    assert (above >= 0).all()
    assert (above < 1 + 1e-6 * np.abs(exact[finite])).all()


def test_costs_add_like_rounds() -> None:
    mechanism = MechanismSpec(
        clipping_norm=1.0, noise_multiplier=1.1, sampling_numerator=2**51, steps_per_round=3, rounds=40, divisor=10.0
    )
    one_by_one = NOTHING
    for _ in range(40):
        one_by_one = add(one_by_one, cost_of(round_event(mechanism)))
    assert spent(mechanism, rounds_done=40, delta=1e-5).epsilon == epsilon_of_cost(one_by_one, delta=1e-5)
    assert one_by_one == add(NOTHING, cost_of(round_event(mechanism)), times=40)


def test_nothing_is_refunded() -> None:
    with pytest.raises(InvalidInputError):
        add(NOTHING, cost_of(_event(1.0, 2**53, 1)), times=-1)


def test_an_order_without_bound_stays_without() -> None:
    unbounded = cost_of(_event(0.0001, 2**40, 1))
    assert max(unbounded) == 2**62
    assert max(add(unbounded, unbounded, times=5)) == 2**62


def test_discrete_gaussian_is_the_gaussians_curve() -> None:
    event = DiscreteGaussian(sensitivity_squared=3, variance=48)
    np.testing.assert_allclose(discrete_gaussian(3, 48), ORDERS / (2 * 16), rtol=1e-14)
    assert epsilon_of([event], delta=1e-5) == pytest.approx(epsilon_of([_event(4.0, 2**53, 1)], delta=1e-5), abs=1e-6)


@pytest.mark.parametrize("variance", [1, 4, 100])
def test_discrete_gaussians_divergence_lies_below_its_curve(variance: int) -> None:
    """The definition, summed over whole numbers: shifting by the sensitivity diverges no more than the curve says."""
    points = np.arange(-60 * variance, 60 * variance + 1, dtype=np.float64)
    log_weights = -(points**2) / (2 * variance)
    log_total = np.logaddexp.reduce(log_weights)
    shifted = -((points - 1) ** 2) / (2 * variance)
    for order in (1.5, 2.0, 8.0, 32.0):
        divergence = np.logaddexp.reduce(order * log_weights + (1 - order) * shifted - log_total) / (order - 1)
        curve = float(discrete_gaussian(1, variance)[np.argmin(np.abs(ORDERS - order))])
        assert divergence <= curve + 1e-9
        assert divergence >= 0.9 * curve, "and the curve is not far above"


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 3.0])
def test_pure_epsilon_is_randomised_response(epsilon: float) -> None:
    keep = 1 / (1 + math.exp(-epsilon))
    for order in (1.5, 2.0, 8.0, 32.0):
        exact = math.log(keep**order * (1 - keep) ** (1 - order) + (1 - keep) ** order * keep ** (1 - order)) / (
            order - 1
        )
        assert float(pure(epsilon)[np.argmin(np.abs(ORDERS - order))]) == pytest.approx(exact, rel=1e-6)
    assert (pure(epsilon) <= epsilon).all()


def test_laplace_costs_little_more_than_its_pure_epsilon() -> None:
    event = DiscreteLaplace(sensitivity=2, scale=4)
    slack = -math.log(1e-9) / (ORDERS[-1] - 1)  # what the conversion to delta adds at the largest order
    assert 0.2 < epsilon_of([event], delta=1e-9) <= 0.5 + slack
    assert epsilon_of([event, event], delta=1e-9) <= 1.0 + slack
