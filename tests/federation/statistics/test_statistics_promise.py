"""The noise of an analysis keeps its promise, by our accountant and by Google's, and not much more than that."""

from __future__ import annotations

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from federation.errors import InvalidInputError, PrivacyRefusedError
from federation.statistics.promise import StatisticsPrivacy

CASES = [(0.5, 1e-6, 1), (2.0, 1e-5, 8), (8.0, 1e-5, 3), (2.0, 1e-3, 20)]


@pytest.mark.parametrize(("epsilon", "delta", "releases"), CASES)
def test_another_accountant_comes_to_the_same_epsilon(epsilon: float, delta: float, releases: int) -> None:
    promise = StatisticsPrivacy.calibrated(epsilon=epsilon, delta=delta, releases=releases, shares=3)
    event = dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(promise.noise_multiplier), releases)
    orders = [1 + place / 10 for place in range(1, 100)] + list(range(11, 64)) + [128, 256, 512, 1024]
    theirs = RdpAccountant(orders).compose(event).get_epsilon(delta)
    assert theirs == pytest.approx(promise.guarantee().epsilon, rel=1e-3)
    assert theirs <= epsilon * (1 + 1e-6)
    assert PLDAccountant().compose(event).get_epsilon(delta) <= epsilon
    less = promise.model_copy(update={"noise_multiplier": promise.noise_multiplier - 2e-4})
    assert less.guarantee().epsilon > epsilon


def test_one_release_more_breaks_the_promise() -> None:
    promise = StatisticsPrivacy.calibrated(epsilon=2.0, delta=1e-5, releases=8, shares=3)
    with pytest.raises(InvalidInputError, match="9 releases"):
        promise.model_copy(update={"releases": 9}).check()
    promise.check()


def test_less_noise_than_promised_is_refused() -> None:
    promise = StatisticsPrivacy.calibrated(epsilon=1.0, delta=1e-5, releases=2, shares=3)
    with pytest.raises(InvalidInputError, match="keeps epsilon"):
        promise.model_copy(update={"noise_multiplier": promise.noise_multiplier / 2}).check()


def test_the_shares_of_the_fewest_sites_are_all_of_the_noise() -> None:
    promise = StatisticsPrivacy.calibrated(epsilon=2.0, delta=1e-5, releases=8, shares=5)
    share = promise.share
    assert share.noise_multiplier >= promise.noise_multiplier
    assert share.noise_multiplier == pytest.approx(promise.noise_multiplier, rel=1e-4)


def test_a_promise_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(PrivacyRefusedError):
        StatisticsPrivacy.calibrated(epsilon=1e-6, delta=1e-9, releases=50, shares=3)
