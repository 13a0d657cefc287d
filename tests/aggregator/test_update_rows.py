import tracemalloc

import numpy as np
import pytest

from aggregator.robust_rules import combine
from aggregator.update_rows import UpdateRows
from federation.errors import InvalidInputError
from federation.study.robust_spec import CoordinateMedian, FLTrust, GeometricMedian, Krum, TrimmedMean
from tests.aggregator.updates import drawn, rows_of

RULES = [
    TrimmedMean(kind="trimmed_mean"),
    CoordinateMedian(kind="median"),
    Krum(kind="krum"),
    GeometricMedian(kind="geometric_median", iterations=3),
    FLTrust(kind="fltrust", root="site-0"),
]


@pytest.mark.parametrize("block_numbers", [1, 7, 64, 10**6])
def test_what_is_kept_is_read_back_as_often_as_needed(block_numbers):
    updates = drawn(5, columns=23)
    rows = rows_of(updates, block_numbers=block_numbers)
    for _ in range(2):
        found = np.full((5, 23), np.nan)
        for columns, block in rows.blocks():
            found[:, columns] = block
        np.testing.assert_array_equal(found, updates)


def test_an_update_may_follow_reading():
    rows = rows_of(drawn(2, columns=3))
    list(rows.blocks())
    rows.append("late", np.array([1.0, 2.0, 3.0]), weight=1.0)
    ((_, block),) = rows.blocks()
    np.testing.assert_array_equal(block[2], [1, 2, 3])


def test_no_updates_have_no_blocks():
    assert list(UpdateRows(3).blocks()) == []


def test_another_length_is_refused():
    with pytest.raises(InvalidInputError, match="3 numbers"):
        UpdateRows(3).append("a", np.ones(4), weight=1.0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("block_numbers", [8, 50, 10**6])
def test_the_size_of_blocks_changes_no_result(rule, block_numbers):
    updates = drawn(8, columns=33)
    whole = combine(rule, rows_of(updates, block_numbers=10**6), faulty=2).update
    np.testing.assert_allclose(
        combine(rule, rows_of(updates, block_numbers=block_numbers), faulty=2).update, whole, rtol=1e-12
    )


def _peak(rule, number, columns):
    update = np.ones(columns, dtype=np.float32)
    tracemalloc.start()
    try:
        rows = UpdateRows(columns)
        for site in range(number):
            rows.append(f"site-{site}", update * site, weight=1.0)
        combine(rule, rows, faulty=2)
        rows.close()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_memory_does_not_grow_with_the_number_of_sites(rule):
    columns = 2**20  # 4 MiB an update: ten of them do not fit into what is kept in memory
    few, many = _peak(rule, 10, columns), _peak(rule, 50, columns)
    assert many < 1.1 * few
    assert many < 5 * 8 * columns  # five models in float64, of which two are the file before it leaves memory
