"""The layout of the counts and what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from federation.data.preparation import LevelsPart, NumberPart, count_layout, sensitivity_squared
from federation.errors import ManifestError
from tests.federation.data.preparation_cases import CONTRACT, NAMES, spec


def test_sensitivity_is_one_for_each_level_of_each_tree_and_one_for_each_category():
    assert sensitivity_squared(spec(), CONTRACT) == 3 * 12 + 1
    assert sensitivity_squared(spec(levels=5, vocabulary_of=[]), CONTRACT) == 3 * 5
    assert sensitivity_squared(spec(quantiles_of=["marker"], vocabulary_of=[]), CONTRACT) == 12
    assert spec(quantiles_of=[]).event(CONTRACT).sensitivity_squared == 1


def test_parts_fill_the_vector_once_and_name_their_features():
    layout = count_layout(spec(levels=4), CONTRACT)
    assert [part.name for part in layout.parts] == ["marker", "balance", "sodium", "pain"]
    places = np.concatenate([np.arange(layout.size)[part.counts] for part in layout.parts])
    np.testing.assert_array_equal(places, np.arange(layout.size))
    columns = [NAMES[part.column] for part in layout.parts if isinstance(part, NumberPart)]
    assert columns == ["marker", "balance", "sodium"]
    (levels,) = [part for part in layout.parts if isinstance(part, LevelsPart)]
    assert NAMES[levels.columns] == ("pain=some", "pain=much", "pain=rare")


@pytest.mark.parametrize("grid", ["even", "geometric"])
def test_edges_divide_the_public_range(grid):
    bounds = {"marker": (-1.0, 1.0), "balance": (-1.0, 1.0), "sodium": ((1 - 140) / 4, (2000 - 140) / 4)}
    for part in count_layout(spec(grid=grid, vocabulary_of=[]), CONTRACT).parts:
        assert isinstance(part, NumberPart)
        assert (np.diff(part.edges) > 0).all()
        assert (part.edges[0], part.edges[-1]) == pytest.approx(bounds[part.name])
        outside = np.array([-np.inf, part.edges[0] - 1, part.edges[-1] + 1, np.inf, np.nan])
        np.testing.assert_array_equal(part.leaves(outside), [0, 0, 4095, 4095, 4095])


def test_geometric_leaves_are_narrow_near_zero():
    marker, balance, _ = count_layout(spec(vocabulary_of=[]), CONTRACT).parts
    in_units = (marker.edges + 1) * 50_000
    width = np.diff(in_units)
    for value in (5.0, 500.0, 50_000.0):
        leaf = np.searchsorted(in_units, value) - 1
        assert 0.0025 * value < width[leaf] < 0.0035 * value
    zero = -7500 / 12_500  # the encoded value of balance = 0
    assert np.diff(balance.edges).argmin() == pytest.approx(np.searchsorted(balance.edges, zero), abs=1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"quantiles_of": ["marker", "height"]}, r"quantiles_of: .*got \['height'\]"),
        ({"quantiles_of": ["pain"]}, r"continuous or integer .*got \['pain'\]"),
        ({"vocabulary_of": ["stage"]}, r"categorical .*got \['stage'\]"),
        ({"quantiles_of": [], "vocabulary_of": []}, "at least one variable"),
    ],
)
def test_variables_that_do_not_fit_are_refused(changes, told):
    with pytest.raises(ManifestError, match=told):
        count_layout(spec(**changes), CONTRACT)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"quantiles_of": ["marker", "marker"]}, "every variable once"),
        ({"vocabulary_of": ["pain", "pain"]}, "every variable once"),
        ({"variance": 0}, "variance"),
        ({"levels": 17}, "levels"),
        ({"low": 0.3}, "low"),
        ({"limit": 0.5}, "limit"),
    ],
)
def test_impossible_specifications_are_refused(changes, told):
    with pytest.raises(ManifestError, match=told):
        spec(**changes)
