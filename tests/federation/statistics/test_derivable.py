"""Acceptance test 20: from a table that is shown, no count from 1 to 10 can be computed, by whatever linear reasoning.

The oracle shares nothing with what it judges: it knows the shown numbers of a table and that counts are not negative, and asks a solver
of linear programs for the smallest and largest value of every small count. Linear programs over tables with margins have solutions in
whole numbers, so that an interval of one point is a count that is known, and any other is not.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from federation.statistics.derivable import HiddenCounts, derivable, suppress_cross_table
from federation.statistics.descriptive import cross_tabulate, level_names
from federation.statistics.disclosure import is_small, suppress_counts, suppress_table
from tests.statistics_bench import CONTRACT, deal, draw, parts, solve

THRESHOLD = 11
EDGES = (0, 0, 1, 2, 5, 9, 10, 11, 12, 20, 40)
"""0, 1 to 10, 11, and more."""


def recovered(counts: np.ndarray, hidden: HiddenCounts, threshold: int) -> list[str]:
    """Every small count that is shown, or that linear programs find from what is shown."""
    rows, columns = counts.shape
    shown, sums = [], []
    for row, column in np.ndindex(rows, columns):
        if not hidden.cells[row, column]:
            _know(shown, sums, counts, np.s_[row : row + 1, column : column + 1])
    for row in np.flatnonzero(~hidden.rows):
        _know(shown, sums, counts, np.s_[row : row + 1, :])
    for column in np.flatnonzero(~hidden.columns):
        _know(shown, sums, counts, np.s_[:, column : column + 1])
    if not hidden.total:
        _know(shown, sums, counts, np.s_[:, :])
    targets = {
        f"cell {place}": np.s_[place[0] : place[0] + 1, place[1] : place[1] + 1] for place in np.ndindex(rows, columns)
    }
    targets |= {f"row {row}": np.s_[row : row + 1, :] for row in range(rows)}
    targets |= {f"column {column}": np.s_[:, column : column + 1] for column in range(columns)}
    targets |= {"total": np.s_[:, :]}
    found = []
    for name, part in targets.items():
        true = counts[part].sum()
        if not 0 < true < threshold:
            continue
        goal = np.zeros(counts.shape)
        goal[part] = 1
        least, most = (_extreme(sign * goal.ravel(), shown, sums) * sign for sign in (1, -1))
        if most - least < 0.5:
            assert abs(least - true) < 1e-6
            found.append(name)
    return found


def _know(shown: list[np.ndarray], sums: list[float], counts: np.ndarray, part: tuple[slice, slice]) -> None:
    line = np.zeros(counts.shape)
    line[part] = 1
    shown.append(line.ravel())
    sums.append(counts[part].sum())


def _extreme(goal: np.ndarray, shown: list[np.ndarray], sums: list[float]) -> float:
    known = {"A_eq": np.array(shown), "b_eq": np.array(sums)} if shown else {}
    found = linprog(goal, bounds=(0, None), **known)
    return -np.inf if found.status == 3 else found.fun  # 3: unbounded


def tables(seed: int, number: int) -> list[np.ndarray]:
    """Tables of all small shapes, with many zeros and many counts at the threshold."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        shape = tuple(generator.integers(1, 6, 2))
        table = generator.choice(EDGES, shape).astype(float)
        table[generator.random(shape) < generator.choice([0, 0.3, 0.7])] = generator.choice([0, 11, 200])
        found.append(table)
    return found


def by_lines_only(counts: np.ndarray, threshold: int) -> HiddenCounts:
    """What hides two counts of every line, and nothing more."""
    margins = (suppress_counts(counts.sum(axis=axis), threshold) for axis in (1, 0))
    return HiddenCounts(suppress_table(counts, threshold), *margins, bool(is_small(counts.sum(), threshold)))


def primary_only(counts: np.ndarray, threshold: int) -> HiddenCounts:
    """The planted fault: small counts are hidden, and none with them."""
    margins = (is_small(counts.sum(axis=axis), threshold) for axis in (1, 0))
    return HiddenCounts(is_small(counts, threshold), *margins, bool(is_small(counts.sum(), threshold)))


BLOCKS = np.array(
    [
        [3, 4, 5, 90, 90],
        [4, 3, 90, 90, 90],
        [90, 90, 6, 4, 90],
        [90, 90, 4, 6, 90],
        [90, 90, 90, 90, 90],
    ],
    dtype=float,
)
"""Every line with a hidden count has two; but the 5 joins two blocks, and is rows 0 and 1 less columns 0 and 1."""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_count_from_1_to_10_can_be_recovered(seed: int) -> None:
    for counts in tables(seed, 60):
        hidden = suppress_cross_table(counts, THRESHOLD)
        assert recovered(counts, hidden, THRESHOLD) == [], counts


def test_a_count_that_joins_two_blocks_does_not_follow_either() -> None:
    hidden = by_lines_only(BLOCKS, 7)
    assert recovered(BLOCKS, hidden, 7) == ["cell (0, 2)"]  # two in every line are not enough
    assert list(derivable(BLOCKS, hidden, 7)) == [(0, 2)]
    assert recovered(BLOCKS, suppress_cross_table(BLOCKS, 7), 7) == []


def test_primary_suppression_alone_is_caught() -> None:
    leaks = [recovered(counts, primary_only(counts, THRESHOLD), THRESHOLD) for counts in tables(1, 60)]
    assert sum(bool(found) for found in leaks) > 20


def test_what_follows_is_what_the_linear_programs_find() -> None:
    """Both ways: the network and the programs agree on every table, whatever is hidden."""
    generator = np.random.default_rng(11)
    found = 0
    for counts in tables(4, 60):
        cells = is_small(counts, THRESHOLD) | (generator.random(counts.shape) < generator.random())
        hides = [
            is_small(counts.sum(axis=axis), THRESHOLD) | (generator.random(counts.shape[1 - axis]) < 0.3)
            for axis in (1, 0)
        ]
        hidden = HiddenCounts(cells, *hides, bool(is_small(counts.sum(), THRESHOLD)))
        by_network = {_name(place) for place in derivable(counts, hidden, THRESHOLD)}
        by_programs = set(recovered(counts, hidden, THRESHOLD))
        assert by_network == by_programs, counts
        found += len(by_network)
    assert found > 30


def _name(place: tuple[int, int]) -> str:
    row, column = place
    return f"column {column}" if row < 0 else f"row {row}" if column < 0 else f"cell {place}"


def test_a_table_without_small_counts_is_shown_whole_and_little_more_is_hidden_than_by_lines() -> None:
    assert not suppress_cross_table(np.full((4, 3), 11.0), THRESHOLD).any
    more = [
        suppress_cross_table(counts, THRESHOLD).cells.sum() - by_lines_only(counts, THRESHOLD).cells.sum()
        for counts in tables(5, 100)
    ]
    assert min(more) >= 0
    assert np.mean(more) < 1


@pytest.mark.parametrize(
    "counts", [[100.0, 3.0, 50.0], [3.0, 4.0, 90.0], [0.0, 10.0, 11.0, 500.0], [11.0, 10.0], [95.0, 5.0]]
)
def test_levels_of_one_variable_do_not_follow_from_the_number_of_all(counts: list[float]) -> None:
    table = np.array([counts])
    hidden = suppress_counts(table[0], THRESHOLD)
    one_way = HiddenCounts(hidden[None, :], np.array([False]), hidden, total=False)
    assert recovered(table, one_way, THRESHOLD) == []


def test_the_table_that_people_see_gives_no_small_count_away() -> None:
    """What is printed, read as an outsider reads it: dots are hidden, everything else is known."""
    values = draw(400)
    values["ward"] = np.where(np.arange(400) < 14, 2.0, np.minimum(values["ward"], 1.0))
    values["died"] = np.where(np.arange(400) < 14, np.arange(400) < 4, values["died"]).astype(float)
    ward, died = CONTRACT.variable("ward"), CONTRACT.variable("died")
    found = solve(cross_tabulate(ward, died, threshold=THRESHOLD), parts(values, deal(400, 4)))
    *body, total = [row[1:] for row in found.tables[0].rows]
    shape = (len(level_names(ward)), len(level_names(died)))
    counts = np.array(
        [[np.sum((values["ward"] == w) & (values["died"] == d)) for d in range(shape[1])] for w in range(shape[0])]
    )
    cells = np.array([[cell is None for cell in row[:-1]] for row in body])
    hidden = HiddenCounts(
        cells,
        np.array([row[-1] is None for row in body]),
        np.array([cell is None for cell in total[:-1]]),
        total[-1] is None,
    )
    assert is_small(counts, THRESHOLD).any()
    assert recovered(counts.astype(float), hidden, THRESHOLD) == []
