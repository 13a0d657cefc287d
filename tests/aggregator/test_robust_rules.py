import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aggregator.robust_distances import squared_distances
from aggregator.robust_rules import combine, coordinate_median, fltrust, geometric_median, krum, trimmed_mean
from federation.errors import InternalError
from federation.study.robust_spec import CoordinateMedian, FLTrust, GeometricMedian, Krum, TrimmedMean
from tests.aggregator.updates import drawn, rows_of

RULES = [
    TrimmedMean(kind="trimmed_mean"),
    CoordinateMedian(kind="median"),
    Krum(kind="krum"),
    GeometricMedian(kind="geometric_median"),
    FLTrust(kind="fltrust", root="site-0"),
]
BY_COORDINATE = RULES[:2]
NUMBERS = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize(("number", "faulty"), [(5, 1), (5, 2), (10, 3), (10, 0)])
def test_trimmed_mean_is_that_of_flower_and_scipy(number, faulty):
    from flwr.server.strategy.aggregate import aggregate_trimmed_avg

    updates = drawn(number)
    ours = trimmed_mean(rows_of(updates), faulty=faulty)
    theirs = aggregate_trimmed_avg([([update], 1) for update in updates], faulty / number)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    np.testing.assert_allclose(ours, scipy.stats.trim_mean(updates, faulty / number, axis=0), rtol=1e-12)


@given(
    updates=arrays(np.float64, (6, 3), elements=NUMBERS), weights=st.lists(st.floats(0.1, 100), min_size=6, max_size=6)
)
def test_trimmed_mean_without_faulty_sites_is_the_weighted_mean(updates, weights):
    ours = trimmed_mean(rows_of(updates, weights=weights), faulty=0)
    np.testing.assert_allclose(ours, np.average(updates, axis=0, weights=weights), rtol=1e-9, atol=1e-7)


def test_trimmed_mean_gives_the_kept_values_their_sites_weights():
    updates = np.array([[0.0], [1.0], [5.0], [9.0], [100.0]])
    assert trimmed_mean(rows_of(updates, weights=[1, 3, 1, 4, 1]), faulty=1) == pytest.approx(
        (3 * 1 + 1 * 5 + 4 * 9) / 8
    )


@pytest.mark.parametrize("number", [5, 6])
def test_median_is_that_of_flower(number):
    from flwr.server.strategy.aggregate import aggregate_median

    updates = drawn(number)
    theirs = aggregate_median([([update], 1) for update in updates])[0]
    np.testing.assert_array_equal(coordinate_median(rows_of(updates)), theirs)


@pytest.mark.parametrize(("number", "faulty", "selected"), [(5, 1, 2), (10, 3, 5), (10, 3, 1), (9, 2, 3)])
def test_krum_is_that_of_flower(number, faulty, selected):
    from flwr.server.strategy.aggregate import aggregate_krum

    updates = drawn(number, seed=number)
    theirs = aggregate_krum([([update], 1) for update in updates], faulty, selected)[0]
    found = krum(rows_of(updates), faulty=faulty, selected=selected)
    np.testing.assert_allclose(found.update, theirs, rtol=1e-12)
    assert len(found.excluded) == number - selected


def test_krum_never_averages_more_than_is_safe():
    assert len(krum(rows_of(drawn(10)), faulty=3, selected=None).excluded) == 10 - (10 - 3 - 2)
    assert len(krum(rows_of(drawn(10)), faulty=3, selected=9).excluded) == 10 - (10 - 3 - 2)


@pytest.mark.parametrize("number", [3, 6, 10])
def test_geometric_median_is_the_minimum_that_an_optimiser_finds(number):
    updates = drawn(number, columns=4, seed=number)

    def total(point):
        return np.linalg.norm(updates - point, axis=1).sum()

    ours = geometric_median(rows_of(updates), iterations=1000, tolerance=1e-12)
    best = scipy.optimize.minimize(
        total, updates.mean(axis=0), method="Nelder-Mead", tol=1e-12, options={"maxiter": 10_000}
    )
    assert total(ours) <= best.fun * (1 + 1e-8)
    np.testing.assert_allclose(ours, best.x, atol=1e-3)


def test_geometric_median_of_a_majority_at_one_point_is_that_point():
    updates = np.concatenate([np.tile([[1.0, -2.0]], (4, 1)), np.full((3, 2), 1e6)])
    np.testing.assert_allclose(geometric_median(rows_of(updates), iterations=100, tolerance=1e-9), [1, -2])


def test_fltrust_is_the_papers_formula():
    updates = drawn(6, seed=3)
    updates[4] *= -1
    root = updates[0]
    score = [max(0.0, root @ update / np.linalg.norm(root) / np.linalg.norm(update)) for update in updates]
    rescaled = [update * np.linalg.norm(root) / np.linalg.norm(update) for update in updates]
    expected = sum(s * update for s, update in zip(score, rescaled, strict=True)) / sum(score)
    found = fltrust(rows_of(updates), root="site-0")
    np.testing.assert_allclose(found.update, expected, rtol=1e-10)
    assert set(found.excluded) == {"site-4"}
    assert "away" in found.excluded["site-4"]


def test_fltrust_is_never_longer_than_the_trusted_update():
    updates = drawn(6)
    updates[1:] *= 1e6
    assert np.linalg.norm(fltrust(rows_of(updates), root="site-0").update) <= np.linalg.norm(updates[0]) * (1 + 1e-9)


def test_fltrust_names_a_free_rider_and_survives_a_root_without_news():
    updates = drawn(4)
    updates[2] = 0
    assert "zeros" in fltrust(rows_of(updates), root="site-0").excluded["site-2"]
    updates[0] = 0
    np.testing.assert_array_equal(fltrust(rows_of(updates), root="site-0").update, 0)


def test_fltrust_without_its_root_is_refused():
    with pytest.raises(InternalError, match="nobody"):
        fltrust(rows_of(drawn(4)), root="nobody")


@settings(max_examples=60, deadline=None)
@given(
    updates=arrays(np.float64, (7, 3), elements=NUMBERS),
    weights=st.lists(st.floats(0.1, 100), min_size=7, max_size=7),
    order=st.permutations(range(7)),
)
@pytest.mark.parametrize("rule", BY_COORDINATE, ids=lambda rule: rule.kind)
def test_rules_by_coordinate_do_not_depend_on_the_order_of_sites_in_a_single_bit(rule, updates, weights, order):
    order = list(order)
    one = combine(rule, rows_of(updates, weights=weights), faulty=2).update
    other = combine(rule, rows_of(updates[order], weights=np.asarray(weights)[order]), faulty=2).update
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("rule", RULES[2:4], ids=lambda rule: rule.kind)
@pytest.mark.parametrize("seed", range(5))
def test_other_rules_do_not_depend_on_the_order_of_sites(rule, seed):
    updates = drawn(9, seed=seed)
    order = np.random.default_rng(seed).permutation(9)
    one, other = (combine(rule, rows_of(matrix), faulty=2).update for matrix in (updates, updates[order]))
    np.testing.assert_allclose(one, other, rtol=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    honest=arrays(np.float64, (5, 3), elements=NUMBERS),
    lies=arrays(np.float64, (2, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    weights=st.lists(st.floats(0.1, 100), min_size=7, max_size=7),
)
@pytest.mark.parametrize("rule", BY_COORDINATE, ids=lambda rule: rule.kind)
def test_with_f_lies_every_coordinate_stays_within_the_honest_values(rule, honest, lies, weights):
    found = combine(rule, rows_of(np.concatenate([lies, honest]), weights=weights), faulty=2).update
    assert (found >= honest.min(axis=0)).all()
    assert (found <= honest.max(axis=0)).all()


def test_with_more_than_f_lies_the_trimmed_mean_is_lost():
    updates = np.concatenate([np.full((3, 2), 1e6), drawn(5, columns=2)])
    assert (trimmed_mean(rows_of(updates), faulty=2) > 1e4).all()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("lie", [1e30, -1e30, 1e3])
def test_far_lies_move_no_rule_far_from_the_honest_mean(rule, lie):
    honest = drawn(7, seed=5)
    updates = np.concatenate([honest, np.full((3, honest.shape[1]), lie)])
    found = combine(rule, rows_of(updates), faulty=3)
    spread = np.linalg.norm(honest - honest.mean(axis=0), axis=1).max()
    assert np.linalg.norm(found.update - honest.mean(axis=0)) < 3 * spread
    assert np.linalg.norm(updates.mean(axis=0) - honest.mean(axis=0)) > 30 * spread  # the plain mean is lost


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_equal_updates_are_their_own_combination(rule):
    update = drawn(1)[0]
    np.testing.assert_allclose(combine(rule, rows_of(np.tile(update, (7, 1))), faulty=2).update, update, rtol=1e-12)


def test_distances_keep_their_digits_beside_a_huge_update():
    honest = drawn(3)
    found = squared_distances(rows_of(np.concatenate([honest, np.full((1, honest.shape[1]), 1e30)])))
    assert found[0, 1] == pytest.approx(((honest[0] - honest[1]) ** 2).sum(), rel=1e-12)
    np.testing.assert_array_equal(found, found.T)
