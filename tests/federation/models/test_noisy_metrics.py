"""Tables of a paid evaluation: names, lengths, sums, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import InvalidInputError, TransportError
from federation.models.noisy_metrics import CountLayout, NoisyCounts, check_counts, split_counts, table_lengths

LAYOUT = CountLayout("binary", 10, subgroups=(("sex", ("0", "1")), ("ward", ("a/b", "other"))))


def _arrays(layout: CountLayout = LAYOUT, value: float = 0.0) -> dict[str, np.ndarray]:
    return {name: np.full(length, value) for name, length in table_lengths(layout).items()}


def test_names_and_lengths_follow_from_the_layout() -> None:
    assert list(table_lengths(LAYOUT).items())[:4] == [
        ("overall/negative", 10),
        ("overall/positive", 10),
        ("subgroup/sex/0/negative", 10),
        ("subgroup/sex/0/positive", 10),
    ]
    assert len(table_lengths(LAYOUT)) == 2 * (1 + 2 + 2)
    assert table_lengths(CountLayout("multiclass", 10, classes=4)) == {"overall/confusion": 16}
    assert table_lengths(CountLayout("regression", 12)) == {"overall/error_by_outcome": 60}


def test_splitting_keeps_every_count_in_order() -> None:
    total = sum(table_lengths(LAYOUT).values())
    found = split_counts(LAYOUT, np.arange(total, dtype=np.int64))
    np.testing.assert_array_equal(np.concatenate(list(found.values())), np.arange(total))
    assert {name: len(vector) for name, vector in found.items()} == table_lengths(LAYOUT)
    with pytest.raises(InvalidInputError, match="counts"):
        split_counts(LAYOUT, np.zeros(total - 1, dtype=np.int64))


def test_counts_and_variances_of_sites_add_up() -> None:
    one = NoisyCounts.from_arrays(LAYOUT, _arrays(value=2.0), variance=9)
    total = one + NoisyCounts.from_arrays(LAYOUT, _arrays(value=-5.0), variance=9)
    assert (total.variance, total.num_sites) == (18.0, 2)
    np.testing.assert_array_equal(total.groups["subgroup/ward/a/b"], np.full(20, -3.0))


def test_counts_of_different_tables_do_not_add() -> None:
    other = CountLayout("binary", 20)
    one, two = (NoisyCounts.from_arrays(layout, _arrays(layout), variance=1) for layout in (LAYOUT, other))
    with pytest.raises(InvalidInputError, match="same tables"):
        sum([two], start=one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"overall/negative": None}, "1 missing"),
        ({"overall/log_loss": np.zeros(1)}, "1 unknown"),
        ({"subgroup/sex/2/negative": np.zeros(10)}, "1 unknown"),
        ({"overall/negative": np.zeros(9)}, "10 counts"),
        ({"overall/negative": np.zeros((10, 1))}, "10 counts"),
        ({"overall/negative": np.full(10, 0.5)}, "whole"),
        ({"overall/negative": np.full(10, np.nan)}, "whole"),
        ({"overall/negative": np.full(10, np.inf)}, "whole"),
        ({"overall/negative": np.full(10, 2.0**60)}, "whole"),
    ],
    ids=["missing", "loss", "level", "short", "matrix", "fraction", "nan", "infinite", "huge"],
)
def test_anything_else_is_refused(change: dict[str, np.ndarray | None], words: str) -> None:
    arrays = {name: value for name, value in (_arrays() | change).items() if value is not None}
    with pytest.raises(TransportError, match=words):
        check_counts(LAYOUT, arrays)
    with pytest.raises(TransportError, match=words):
        NoisyCounts.from_arrays(LAYOUT, arrays, variance=1)
