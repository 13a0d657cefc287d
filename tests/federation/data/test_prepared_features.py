"""The public map: accurate where there is signal, unchanged where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from federation.data.preparation import NumberPart, count_layout, sensitivity_squared
from federation.data.prepared_features import PreparedFeatures, derive, rank_deviation
from federation.errors import InternalError, ManifestError, TransportError
from federation.privacy.calibration import calibrate_variance
from tests.federation.data.preparation_cases import CONTRACT, NAMES, encoded, spec

MARKER, RARE, BALANCE, SODIUM = (NAMES.index(name) for name in ("marker", "pain=rare", "balance", "sodium"))


def counts_of(features, used):
    """Exact counts, made without the site's own code."""
    layout = count_layout(used, CONTRACT)
    counts = np.zeros(layout.size)
    for part in layout.parts:
        if isinstance(part, NumberPart):
            counts[part.counts] = used.tree.count(part.leaves(features[:, part.column].astype(float)))
        else:
            counts[part.counts] = features[:, part.columns].sum(axis=0)
    return counts


def prepared_of(features, used, *, num_sites=1, generator=None):
    counts = counts_of(features, used)
    if generator is not None:
        counts = counts + np.round(generator.normal(scale=(num_sites * used.variance) ** 0.5, size=len(counts)))
    return derive(counts, spec=used, contract=CONTRACT, num_sites=num_sites)


@pytest.mark.parametrize("grid", ["geometric", "even"])
def test_without_noise_centre_and_spread_are_numpys_to_a_leaf(grid):
    used = spec(grid=grid)
    features = encoded(5000)
    found = prepared_of(features, used)
    for part in count_layout(used, CONTRACT).parts:
        if not isinstance(part, NumberPart):
            continue
        low, median, high = np.quantile(features[:, part.column].astype(float), [0.05, 0.5, 0.95])
        leaf = np.diff(part.edges)[part.leaves(np.array([low, median, high]))].max()
        assert found.centre[part.column] == pytest.approx(median, abs=1.01 * leaf)
        assert found.spread[part.column] == pytest.approx(max((high - low) / 2, leaf), abs=1.01 * leaf)


def test_the_mean_is_that_of_the_values_moved_into_the_quantiles():
    features = encoded(5000)
    found = prepared_of(features, spec(centre="mean"))
    column = features[:, BALANCE].astype(float)
    expected = np.clip(column, *np.quantile(column, [0.05, 0.95])).mean()
    assert found.centre[BALANCE] == pytest.approx(expected, abs=0.02 * column.std())


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("epsilon", "patients", "tolerance"), [(0.6, 3000, 0.3), (1.0, 3000, 0.2), (1.0, 30_000, 0.03)]
)
def test_a_range_ten_thousand_times_too_wide_comes_out_at_realistic_noise(epsilon, patients, tolerance):
    """Values from 3 to 9 in 0..100,000: median and spread within ``tolerance`` of the half-width 3, 40 times of 40."""
    used = spec(quantiles_of=["marker"], vocabulary_of=[])
    variance = calibrate_variance(
        epsilon=epsilon, delta=1e-5, sensitivity_squared=sensitivity_squared(used, CONTRACT), releases=1
    )
    used = used.model_copy(update={"variance": variance})
    features, generator = encoded(patients), np.random.default_rng(patients)
    for _ in range(40):
        found = prepared_of(features, used, num_sites=4, generator=generator)
        assert (found.centre[MARKER] + 1) * 50_000 == pytest.approx(6.0, abs=3 * tolerance)
        assert found.spread[MARKER] * 50_000 == pytest.approx(2.7, abs=3 * tolerance)


def test_drowned_numbers_keep_their_public_range_with_a_notice():
    used = spec(variance=90_000, vocabulary_of=[])
    found = prepared_of(encoded(300), used, generator=np.random.default_rng(3))
    assert found.centre == (0.0,) * len(NAMES)
    assert found.spread == (1.0,) * len(NAMES)
    assert found.rank_error == (0.0,) * len(NAMES)
    assert [notice.partition(":")[0] for notice in found.notices] == ["marker", "balance", "sodium"]
    assert all("keeps its public range" in notice for notice in found.notices)


def test_no_patients_at_all_keep_the_public_range():
    found = derive(np.zeros(count_layout(spec(), CONTRACT).size), spec=spec(), contract=CONTRACT, num_sites=2)
    assert found.spread == (1.0,) * len(NAMES)
    assert len([notice for notice in found.notices if "public range" in notice]) == 3


def test_noisy_extremes_are_replaced_by_quantiles_the_noise_can_tell():
    used = spec(variance=900, vocabulary_of=[], quantiles_of=["sodium"])
    features = encoded(2000)
    found = prepared_of(features, used, generator=np.random.default_rng(4))
    assert "instead of 0.05 and 0.95" in found.notices[0]
    assert found.rank_error[SODIUM] == pytest.approx(rank_deviation(used, num_sites=1) / 2000, rel=0.2)
    # The values are normal, so stretching the inner quantiles gives the outer ones.
    assert found.spread[SODIUM] == pytest.approx(1.645 * 3 / 4, rel=0.35)


def test_rare_levels_are_merged_and_common_ones_stay():
    features = encoded(5000)
    found = prepared_of(features, spec(vocabulary_threshold=100))
    assert [NAMES[index] for index, kept in enumerate(found.keep) if not kept] == ["pain=rare"]
    mapped = found.apply(features)
    assert features[:, RARE].any()
    assert not mapped[:, RARE].any()


def test_a_threshold_within_the_noise_merges_nothing():
    found = prepared_of(encoded(500), spec(variance=400, vocabulary_threshold=10, quantiles_of=[]))
    assert set(found.keep) == {1}
    assert "keeps all levels" in found.notices[0]


def test_one_value_only_gives_the_finest_spread():
    features = encoded(1000)
    features[:, MARKER] = -1.0
    found = prepared_of(features, spec(quantiles_of=["marker"], vocabulary_of=[]))
    assert 0 < found.spread[MARKER] < 1e-5
    assert "one value" in found.notices[0]
    assert np.abs(found.apply(features)[:, MARKER]).max() < 1


def test_applying_is_the_formula_and_leaves_other_features_as_they_are():
    features = encoded(2000)
    found = prepared_of(features, spec(limit=2.0))
    mapped = found.apply(features)
    expected = (features[:, MARKER].astype(float) - found.centre[MARKER]) / found.spread[MARKER]
    np.testing.assert_allclose(mapped[:, MARKER], np.clip(expected, -2, 2), rtol=1e-6)
    assert mapped.dtype == np.float32
    assert np.abs(mapped).max() <= 2.0
    for name in ("pain=some", "balance?missing", "male", "stage"):
        np.testing.assert_array_equal(mapped[:, NAMES.index(name)], features[:, NAMES.index(name)])
    assert np.quantile(np.abs(mapped[:, MARKER]), 0.9) == pytest.approx(1.0, abs=0.02)


def test_the_map_survives_arrays_and_text_bit_for_bit():
    found = prepared_of(encoded(500), spec())
    again = PreparedFeatures.from_arrays(found.to_arrays(), limit=found.limit, num_features=len(NAMES))
    assert (again.centre, again.spread, again.keep) == (found.centre, found.spread, found.keep)
    assert PreparedFeatures.from_json(found.model_dump_json()) == found


@pytest.mark.parametrize("fault", ["absent", "short", "nan", "zero spread", "half kept", "more"])
def test_impossible_maps_are_refused(fault):
    arrays = prepared_of(encoded(500), spec()).to_arrays()
    if fault == "absent":
        del arrays["keep"]
    elif fault == "short":
        arrays["centre"] = arrays["centre"][:-1]
    elif fault == "more":
        arrays["extra"] = arrays["centre"]
    else:
        name, value = {"nan": ("centre", np.nan), "zero spread": ("spread", 0.0), "half kept": ("keep", 0.5)}[fault]
        arrays[name][0] = value
    with pytest.raises(TransportError, match="centre"):
        PreparedFeatures.from_arrays(arrays, limit=4.0, num_features=len(NAMES))


def test_other_widths_are_refused():
    found = prepared_of(encoded(500), spec())
    with pytest.raises(InternalError, match="features"):
        found.apply(np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(InternalError, match="counts"):
        derive(np.zeros(3), spec=spec(), contract=CONTRACT, num_sites=1)
    with pytest.raises(ManifestError, match="one length"):
        PreparedFeatures.from_data(found.as_data() | {"keep": [1]})


def test_deriving_is_deterministic():
    counts = counts_of(encoded(500), spec()) + np.random.default_rng(5).integers(
        -9, 9, size=count_layout(spec(), CONTRACT).size
    )
    one = derive(counts, spec=spec(), contract=CONTRACT, num_sites=3)
    assert one.digest == derive(counts.copy(), spec=spec(), contract=CONTRACT, num_sites=3).digest
