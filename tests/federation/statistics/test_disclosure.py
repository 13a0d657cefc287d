"""No shown cell, and no margin less the shown cells of its line, tells about 1 to one below the threshold patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from federation.errors import PrivacyRefusedError
from federation.statistics.descriptive import cross_tabulate
from federation.statistics.disclosure import check_total, suppress_counts, suppress_table
from tests.statistics_bench import CONTRACT, deal, draw, parts, solve

_TABLES = arrays.arrays(
    np.float64, st.tuples(st.integers(2, 5), st.integers(2, 5)), elements=st.integers(0, 30).map(float)
)


def _is_safe(line: np.ndarray, hidden: np.ndarray, threshold: int) -> bool:
    """Nobody learns a small count of this line from its total and its shown cells."""
    small = (line > 0) & (line < threshold)
    if np.any(small & ~hidden):
        return False
    return not hidden.any() or hidden.all() or (hidden.sum() >= 2 and line[hidden].sum() >= threshold)


@given(_TABLES, st.integers(2, 10))
def test_every_line_of_a_table_is_safe(counts: np.ndarray, threshold: int) -> None:
    hidden = suppress_table(counts, threshold)
    assert all(_is_safe(counts[row], hidden[row], threshold) for row in range(len(counts)))
    assert all(_is_safe(counts[:, place], hidden[:, place], threshold) for place in range(counts.shape[1]))


@given(_TABLES)
def test_a_table_without_small_counts_is_shown_whole(counts: np.ndarray) -> None:
    assert not suppress_table(counts * 10, 10).any()
    assert not suppress_table(counts, 1).any()


def test_one_small_count_takes_the_next_smallest_with_it() -> None:
    assert suppress_counts(np.array([100.0, 3.0, 50.0, 7.0, 0.0]), 5).tolist() == [False, True, False, True, False]


def test_two_small_counts_hide_a_third_if_their_sum_is_small() -> None:
    assert suppress_counts(np.array([100.0, 1.0, 50.0, 2.0]), 5).tolist() == [False, True, True, True]


def test_a_hidden_cell_does_not_follow_from_the_table_that_is_shown() -> None:
    values = draw(300)
    values["ward"] = np.where(np.arange(300) < 3, 2.0, np.minimum(values["ward"], 1.0))
    values["died"] = np.where(np.arange(300) < 3, [1.0, 1.0, 0.0] + [0.0] * 297, values["died"])
    found = solve(
        cross_tabulate(CONTRACT.variable("ward"), CONTRACT.variable("died"), threshold=5), parts(values, deal(300, 4))
    )
    rows = {row[0]: row[1:] for row in found.tables[0].rows}
    assert rows["cardiac"] == (None, None, None)
    assert sum(rows[name][-1] is None for name in ("medical", "surgical")) == 1
    assert not found.figures
    assert "no test" in found.notes[1]


def test_an_analysis_of_four_patients_is_refused() -> None:
    check_total(5, 5)
    with pytest.raises(PrivacyRefusedError, match="at least 5") as caught:
        check_total(4, 5)
    assert "4" not in str(caught.value)
