from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.data.contract import DataContract
from federation.data.encoding import (
    decode_outcome,
    encode_features,
    encode_outcome,
    feature_names,
    imputed_value,
    num_outputs,
)
from federation.errors import InternalError

NUMBER = {"name": "age", "kind": "continuous", "unit": "year", "minimum": 20, "maximum": 100}
KINDS = {
    "age": NUMBER,
    "count": {"name": "count", "kind": "integer", "minimum": 0, "maximum": 10},
    "male": {"name": "male", "kind": "binary"},
    "pain": {"name": "pain", "kind": "categorical", "levels": ["none", "typical", "other"]},
    "stage": {"name": "stage", "kind": "ordinal", "levels": ["i", "ii", "iii"]},
}


def build(*variables, outcome=None):
    return DataContract.from_data(
        {
            "name": "c",
            "patient_key": "key",
            "variables": list(variables),
            "outcome": outcome or {"name": "died", "kind": "binary"},
        }
    )


EVERY = build(*KINDS.values())


def encode_one(variable, *values):
    return encode_features(build(variable), {variable["name"]: np.array(values, dtype=float)}).T.tolist()


def test_names_say_level_and_leave_the_reference_level_out():
    assert feature_names(EVERY) == ("age", "count", "male", "pain=typical", "pain=other", "stage")


def test_an_indicator_follows_its_variable():
    variable = KINDS["pain"] | {"missing": {"rule": "impute", "value": "other", "indicator": True}}
    assert feature_names(build(variable)) == ("pain=typical", "pain=other", "pain?missing")
    assert encode_one(variable, 0, np.nan) == [[0, 0], [0, 1], [0, 1]]


def test_the_plausible_range_becomes_minus_one_to_one():
    assert encode_one(KINDS["age"], 20, 60, 100) == [[-1, 0, 1]]
    assert encode_one(KINDS["count"], 0, 5, 10) == [[-1, 0, 1]]


def test_a_reference_replaces_the_range():
    reference = {"mean": 50, "standard_deviation": 10, "source": "a national survey"}
    assert encode_one(NUMBER | {"reference": reference}, 50, 70) == [[0, 2]]


def test_codes():
    assert encode_one(KINDS["male"], 0, 1) == [[0, 1]]
    assert encode_one(KINDS["pain"], 0, 1, 2) == [[0, 1, 0], [0, 0, 1]]
    assert encode_one(KINDS["stage"], 0, 1, 2) == [[-1, 0, 1]]


@pytest.mark.parametrize(
    ("name", "value", "index"), [("age", 60, 60.0), ("male", 1, 1.0), ("pain", "other", 2.0), ("stage", "iii", 2.0)]
)
def test_an_imputed_value_is_encoded_like_a_measured_one(name, value, index):
    variable = KINDS[name] | {"missing": {"rule": "impute", "value": value}}
    rule = build(variable).variables[0].missing
    assert imputed_value(build(variable).variables[0], rule) == index
    assert encode_one(variable, np.nan) == encode_one(variable, index)


@given(st.lists(st.tuples(*(st.floats(0, 1, allow_nan=False) for _ in KINDS)), max_size=8))
def test_every_feature_is_float32_in_minus_one_to_one(rows):
    share = np.array(rows, dtype=float).reshape(len(rows), len(KINDS))
    values = {
        "age": 20 + 80 * share[:, 0],
        "count": np.rint(10 * share[:, 1]),
        "male": np.rint(share[:, 2]),
        "pain": np.rint(2 * share[:, 3]),
        "stage": np.rint(2 * share[:, 4]),
    }
    features = encode_features(EVERY, values)
    assert features.dtype == np.float32
    assert features.shape == (len(rows), len(feature_names(EVERY)))
    assert np.all(np.abs(features) <= 1)


@given(st.permutations(range(5)))
def test_a_record_is_encoded_alone(order):
    values = {
        "age": np.linspace(20, 90, 5),
        "count": np.arange(5.0),
        "male": np.array([0, 1, 1, 0, 1.0]),
        "pain": np.array([0, 1, 2, 0, 1.0]),
        "stage": np.array([2, 1, 0, 2, 1.0]),
    }
    shuffled = {name: column[list(order)] for name, column in values.items()}
    np.testing.assert_array_equal(encode_features(EVERY, shuffled), encode_features(EVERY, values)[list(order)])


def test_missing_values_must_be_resolved_before():
    with pytest.raises(InternalError, match="missing values of age"):
        encode_one(KINDS["age"], np.nan)
    with pytest.raises(InternalError, match="died"):
        encode_outcome(EVERY, "binary", np.array([np.nan]))


def test_columns_must_be_there_and_of_one_length():
    two = build(KINDS["age"], KINDS["male"])
    with pytest.raises(InternalError, match="'male'"):
        encode_features(two, {"age": np.zeros(2)})
    with pytest.raises(InternalError, match="one length"):
        encode_features(two, {"age": np.full(2, 50.0), "male": np.zeros(3)})


@pytest.mark.parametrize(
    ("task", "outcome", "outputs"),
    [("binary", {"name": "died", "kind": "binary"}, 1), ("multiclass", KINDS["pain"], 3), ("regression", NUMBER, 1)],
)
def test_outputs_fit_the_task(task, outcome, outputs):
    assert num_outputs(build(KINDS["male"], outcome=outcome), task) == outputs


def test_outcomes():
    assert encode_outcome(EVERY, "binary", np.array([0.0, 1.0])).tolist() == [0, 1]
    classes = build(KINDS["male"], outcome=KINDS["pain"])
    assert encode_outcome(classes, "multiclass", np.array([2.0, 0.0])).tolist() == [2, 0]


@given(st.lists(st.floats(20, 100), min_size=1, max_size=5))
def test_a_regression_outcome_is_scaled_and_back(values):
    contract = build(KINDS["male"], outcome=NUMBER)
    scaled = encode_outcome(contract, "regression", np.array(values))
    assert np.all(np.abs(scaled) <= 1)
    np.testing.assert_allclose(decode_outcome(contract, scaled), values, rtol=1e-5)


def test_a_regression_needs_a_number():
    with pytest.raises(InternalError, match="kind 'binary'"):
        decode_outcome(EVERY, np.zeros(1, dtype=np.float32))
