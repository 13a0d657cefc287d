"""The guarantees of the division: every patient on exactly one side, decided by nothing but the patient key."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from site_client.division import capped, dates_as_numbers, digests, divide, patient_order
from tests.site_client.small_site import definition, records

PINNED = [14105142896764866982, 4440396127363047162, 10695426979487337778, 8072275989745112416]
# Computed from the definition: BLAKE2b-64 of eight zero bytes and the key, keyed by SHA-256 of the salt.

keys = st.lists(st.text("abc1", min_size=1, max_size=3), min_size=1, max_size=40)
fractions = st.floats(0.05, 0.95)


def sides(of, cohort):
    training, test = divide(of, definition=cohort)
    return set(training.patient_keys), set(test.patient_keys)


@given(keys, fractions, st.text(max_size=5))
def test_every_patient_is_on_exactly_one_side_with_all_records(names, fraction, salt):
    whole = records(keys=names)
    training, test = divide(whole, definition=definition(test_fraction=fraction, split_key=salt))
    assert not set(training.patient_keys) & set(test.patient_keys)
    assert sorted([*training.patient_keys, *test.patient_keys]) == sorted(names)


@given(keys, st.text("xyz", min_size=1, max_size=3), fractions)
def test_adding_a_patient_moves_no_other(names, added, fraction):
    cohort = definition(test_fraction=fraction)
    training, test = sides(records(keys=names), cohort)
    more_training, more_test = sides(records(keys=[*names, added]), cohort)
    assert more_training - {added} == training
    assert more_test - {added} == test


@given(keys, st.randoms(use_true_random=False), fractions)
def test_the_order_of_the_file_and_the_values_do_not_matter(names, shuffler, fraction):
    cohort = definition(test_fraction=fraction)
    shuffled = list(names)
    shuffler.shuffle(shuffled)
    assert sides(records(keys=names), cohort) == sides(records(keys=shuffled, age=99), cohort)


@given(keys)
def test_a_larger_fraction_only_moves_patients_into_the_test(names):
    small, large = (sides(records(keys=names), definition(test_fraction=share))[1] for share in (0.2, 0.6))
    assert small <= large


def test_the_division_is_pinned_for_ever():
    names = np.array(["a", "b", "c", "ü"])
    assert digests(names, split_key="cohortium", purpose="divide").tolist() == PINNED


def test_keys_and_purposes_are_independent():
    names = np.array([f"p{number}" for number in range(200)])
    one = digests(names, split_key="cohortium", purpose="divide")
    for other in (
        digests(names, split_key="other", purpose="divide"),
        digests(names, split_key="cohortium", purpose="order"),
        digests(names, split_key="cohortium", purpose="cap"),
        digests(names, split_key="cohortium", purpose="divide", salts=np.ones(200, dtype=np.int64)),
    ):
        assert not set(one.tolist()) & set(other.tolist())
        assert abs(np.corrcoef(one.astype(float), other.astype(float))[0, 1]) < 0.3


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_the_share_held_out_is_as_asked(fraction):
    _, test = divide(records(10_000), definition=definition(test_fraction=fraction))
    # Five standard deviations of a binomial share: fails by chance once in 1.7 million keys, and the keys are fixed.
    assert abs(len(test) / 10_000 - fraction) < 5 * (fraction * (1 - fraction) / 10_000) ** 0.5


@given(keys, st.randoms(use_true_random=False))
def test_rows_are_grouped_by_patient_and_patients_ordered_by_hash_alone(names, shuffler):
    rows, index = patient_order(records(keys=names), split_key="s")
    assert sorted(rows.tolist()) == list(range(len(names)))
    order = list(dict.fromkeys(np.array(names)[rows]))
    assert np.array_equal(np.array(order)[index], np.array(names)[rows])
    shuffled = list(names)
    shuffler.shuffle(shuffled)
    again, _ = patient_order(records(keys=shuffled), split_key="s")
    assert list(dict.fromkeys(np.array(shuffled)[again])) == order


def test_a_patients_records_are_in_the_order_of_their_dates():
    whole = records(keys=["a", "b", "a", "b", "a"])
    rows, _ = patient_order(whole.rows(np.array([4, 3, 2, 1, 0])), split_key="s")
    dates = dates_as_numbers(whole)[[4, 3, 2, 1, 0]][rows]
    keys_in_order = whole.patient_keys[[4, 3, 2, 1, 0]][rows]
    for name in "ab":
        assert np.all(np.diff(dates[keys_in_order == name]) > 0)


@given(keys, st.integers(1, 4))
def test_no_patient_keeps_more_than_the_cap_and_none_is_lost(names, limit):
    whole = records(keys=names)
    kept = whole.rows(capped(whole, definition=definition(max_records_per_patient=limit)))
    counts = {name: names.count(name) for name in names}
    left = {name: int((kept.patient_keys == name).sum()) for name in counts}
    assert left == {name: min(count, limit) for name, count in counts.items()}


@given(keys, st.integers(1, 3), st.floats(0, 1))
def test_no_value_decides_which_record_is_dropped(names, limit, value):
    cohort = definition(max_records_per_patient=limit)
    np.testing.assert_array_equal(
        capped(records(keys=names), definition=cohort),
        capped(records(keys=names, died=value, chol=7), definition=cohort),
    )


def test_the_cap_does_not_simply_keep_the_first():
    names = [f"p{number}" for number in range(300)] * 2
    keep = capped(records(keys=names), definition=definition())
    # Binomial(300, 1/2): 100 and 200 are 5.8 standard deviations away.
    assert 100 < keep[:300].sum() < 200


def test_without_dates_there_is_nothing_to_sort_by():
    whole = records(3)
    undated = type(whole)(site="s", patient_keys=whole.patient_keys, values=whole.values)
    assert dates_as_numbers(undated).tolist() == [0, 0, 0]
