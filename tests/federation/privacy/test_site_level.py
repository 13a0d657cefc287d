"""Site-level privacy: clipped sums, noise on the sum, a public divisor, and a refusal for a handful of hospitals."""

import numpy as np
import pytest

from federation.errors import InvalidInputError, ManifestError
from federation.privacy.accounting import epsilon_of_cost
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.privacy.promise import SiteLevelPrivacy
from federation.privacy.randomness import RandomStreams
from federation.privacy.site_level import MINIMUM_SITES, SiteLevelSum, reason_against, site_round_event
from tests.small_study import manifest

STREAMS = RandomStreams(bytes(range(32)))
PRIVACY = SiteLevelPrivacy(kind="site_level", epsilon=8.0, delta=1e-3, clipping_norm=0.5, noise_multiplier=2.0)


def study(sites=MINIMUM_SITES, **changes):
    noise = calibrate_noise_multiplier(epsilon=8.0, delta=1e-3, sampling_numerator=2**53, steps=1, rounds=4)
    data = {
        "privacy": PRIVACY.as_data() | {"noise_multiplier": noise},
        "roster": [{"site": f"s{n}", "weight": 1.0, "training_patients": 40} for n in range(sites)],
        "evaluation": {"release": "none"},
    }
    return manifest(**(data | changes))


def mean_of(updates, *, stream="noise", num_sites=25):
    total = SiteLevelSum(PRIVACY, num_sites=num_sites, num_parameters=len(updates[0]))
    for update in updates:
        total.add(np.asarray(update, dtype=np.float64))
    return total.noisy_mean(STREAMS.stream(stream))


def test_one_site_moves_the_sum_by_at_most_the_clipping_norm():
    generator = STREAMS.stream("updates")
    updates = [generator.standard_normal(50) * scale for scale in (1e-3, 1.0, 1e9, np.nan)]
    for left_out in range(4):
        others = [update for number, update in enumerate(updates) if number != left_out]
        distance = np.linalg.norm(mean_of(updates) - mean_of(others)) * 25
        assert distance <= 0.5 + 1e-12


def test_the_divisor_is_public_and_the_noise_is_as_promised():
    released = mean_of([np.zeros(40_000)], num_sites=25)
    assert released.std() == pytest.approx(2.0 * 0.5 / 25, rel=0.02)
    short = np.full(40_000, 1e-5)
    np.testing.assert_allclose(mean_of([short] * 5) - mean_of([short] * 4), short / 25, atol=1e-8)


def test_another_length_is_refused():
    with pytest.raises(InvalidInputError, match="update"):
        SiteLevelSum(PRIVACY, num_sites=25, num_parameters=3).add(np.zeros(4))


def test_a_handful_of_hospitals_is_refused_with_the_reason():
    assert reason_against(MINIMUM_SITES, PRIVACY) is None
    assert "0.4 clipping norms on every parameter, 4 over all" in str(reason_against(5, PRIVACY, num_parameters=100))
    with pytest.raises(ManifestError, match="at least 20 sites for site-level privacy, got 3"):
        study(sites=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": {"kind": "scaffold"}}, "scaffold"),
        ({"evaluation": {"release": "sum"}}, "release"),
        ({"privacy": PRIVACY.as_data() | {"noise_multiplier": 0.3}}, "which gives"),
        (
            {"roster": [{"site": f"s{n}", "weight": 1.0 + n, "training_patients": 40} for n in range(20)]},
            "equal weights",
        ),
    ],
    ids=["scaffold", "evaluation", "too little noise", "weights"],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ManifestError, match=message):
        study(**changes)


def test_the_cost_is_that_of_all_rounds_and_of_no_patient():
    agreed = study()
    assert agreed.privacy.target.unit == "site"
    assert epsilon_of_cost(agreed.site_cost(), delta=1e-3) <= 8.0
    assert not any(agreed.privacy_cost())
    assert site_round_event(agreed.privacy).sampling_numerator == 2**53
    assert not any(manifest().site_cost())
