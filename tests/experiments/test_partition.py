from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.partition import case_mix, dirichlet_label_skew, size_shares, whole_sizes
from federation.errors import ConfigurationError
from federation.privacy.randomness import seeded_streams


def generator(*labels: str | int) -> np.random.Generator:
    return seeded_streams(5, provenance="synthetic").stream("test", *labels)


def outcomes(total: int, prevalence: float) -> np.ndarray:
    return (np.arange(total) < prevalence * total).astype(np.int64)


def test_equal_shares_without_skew() -> None:
    np.testing.assert_allclose(size_shares(4, skew=0.0), [0.25] * 4)


def test_shares_follow_the_power_law() -> None:
    shares = size_shares(3, skew=1.0)
    np.testing.assert_allclose(shares, np.array([1, 1 / 2, 1 / 3]) / (11 / 6))


@pytest.mark.parametrize("skew", [-1.0, float("nan"), float("inf")])
def test_impossible_skew_is_refused(skew: float) -> None:
    with pytest.raises(ConfigurationError, match="size skew of 0 or more"):
        size_shares(3, skew=skew)


def test_no_site_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one site"):
        size_shares(0, skew=0.0)


@given(
    total=st.integers(40, 5000),
    num_sites=st.integers(1, 20),
    skew=st.floats(0, 4),
    minimum=st.integers(0, 2),
)
def test_whole_sizes_add_up_and_keep_the_minimum(total: int, num_sites: int, skew: float, minimum: int) -> None:
    shares = size_shares(num_sites, skew=skew)
    sizes = whole_sizes(total, shares=shares, minimum=minimum)
    assert sizes.sum() == total
    assert sizes.min() >= minimum
    assert np.all(np.abs(sizes - minimum - shares * (total - minimum * num_sites)) < 1 + 1e-6)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 2 patients for each of 3 hospitals, got 5"):
        whole_sizes(5, shares=size_shares(3, skew=0.0), minimum=2)


@pytest.mark.parametrize("concentration", [0.5, 10.0, 1000.0])
def test_label_skew_gives_every_patient_one_site_and_keeps_the_sizes(concentration: float) -> None:
    labels = outcomes(3000, 0.2)
    shares = size_shares(6, skew=0.7)
    sites = dirichlet_label_skew(labels, shares=shares, concentration=concentration, generator=generator())
    assert sites.min() >= 0
    assert sites.max() < 6
    np.testing.assert_allclose(np.bincount(sites, minlength=6), shares * 3000, atol=3)


def prevalence_spread(concentration: float) -> float:
    labels = outcomes(20_000, 0.3)
    spreads = [
        np.std([labels[sites == site].mean() for site in range(8)])
        for repeat in range(10)
        if (
            sites := dirichlet_label_skew(
                labels, shares=size_shares(8, skew=0.0), concentration=concentration, generator=generator(repeat)
            )
        )
        is not None
    ]
    return float(np.mean(spreads))


def test_smaller_concentration_spreads_the_outcome_more() -> None:
    spreads = [prevalence_spread(concentration) for concentration in (1.0, 10.0, 100.0, 1000.0)]
    assert spreads == sorted(spreads, reverse=True)
    # Without fitting the standard deviation is sqrt(p (1 - p) / (concentration + 1)).
    assert spreads[2] == pytest.approx(np.sqrt(0.21 / 101), rel=0.25)
    assert spreads[3] == pytest.approx(np.sqrt(0.21 / 1001), rel=0.25)


def test_label_skew_is_reproducible_and_changes_with_the_stream() -> None:
    labels = outcomes(500, 0.3)

    def draw(label: int) -> np.ndarray:
        return dirichlet_label_skew(labels, shares=size_shares(3, skew=0), concentration=5, generator=generator(label))

    np.testing.assert_array_equal(draw(1), draw(1))
    assert np.any(draw(1) != draw(2))


def test_every_site_has_the_minimum_even_when_the_shares_do_not() -> None:
    shares = size_shares(10, skew=4.0)
    sites = dirichlet_label_skew(outcomes(200, 0.5), shares=shares, concentration=1.0, generator=generator(), minimum=7)
    assert np.bincount(sites, minlength=10).min() >= 7


@pytest.mark.parametrize("concentration", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_concentration_is_refused(concentration: float) -> None:
    with pytest.raises(ConfigurationError, match="concentration greater than 0"):
        dirichlet_label_skew(
            outcomes(50, 0.5), shares=size_shares(2, skew=0), concentration=concentration, generator=generator()
        )


def test_case_mix_keeps_exact_sizes_and_follows_preferences() -> None:
    severity = generator("severity").standard_normal((1000, 1))
    sizes = np.array([600, 300, 100])
    sites = case_mix(severity, sizes=sizes, preferences=np.array([[0.0], [1.5], [-1.5]]), generator=generator())
    np.testing.assert_array_equal(np.bincount(sites), sizes)
    means = [severity[sites == site].mean() for site in range(3)]
    assert means[1] > means[0] + 0.3
    assert means[2] < means[0] - 0.3


def test_case_mix_without_preferences_is_no_case_mix() -> None:
    severity = generator("severity").standard_normal((4000, 1))
    sites = case_mix(severity, sizes=np.array([2000, 2000]), preferences=np.zeros((2, 1)), generator=generator())
    difference = severity[sites == 0].mean() - severity[sites == 1].mean()
    assert abs(difference) < 4 * np.sqrt(2 / 2000)


def test_sizes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="add up to 10 patients, got \\[5, 4\\]"):
        case_mix(np.zeros((10, 1)), sizes=np.array([5, 4]), preferences=np.zeros((2, 1)), generator=generator())
