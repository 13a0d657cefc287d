from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from federation.documents import Document
from federation.errors import ConfigurationError, ManifestError


class Inner(Document):
    """Part of the example."""

    weight: float


class Example(Document):
    """An example."""

    name: str
    count: int = 3
    ratio: float = 0.5
    tags: tuple[str, ...] = ()
    parts: dict[str, Inner] = {}
    limit: int = Field(default=1, ge=1)


class Described(Document):
    """With texts below its fields."""

    weight: float
    """In kg,
    of a patient."""
    height: float
    length: float = Field(description="Given.")
    """Not this."""
    inner: Inner
    """A part."""


class Changed(Described):
    """Inherits texts, and leaves one out."""

    weight: float
    """In g."""
    inner: Inner


def test_the_schema_says_what_stands_below_a_field():
    properties = Described.model_json_schema()["properties"]
    assert properties["weight"]["description"] == "In kg,\nof a patient."
    assert "description" not in properties["height"]
    assert properties["length"]["description"] == "Given."
    assert properties["inner"]["description"] == "A part."
    changed = Changed.model_json_schema()["properties"]
    assert changed["weight"]["description"] == "In g."
    assert "description" not in changed["inner"]


def test_a_document_is_frozen():
    with pytest.raises(ValidationError):
        Example(name="a").name = "b"


@pytest.mark.parametrize(
    ("data", "path", "remedy"),
    [
        ({"name": "a", "cuont": 3}, "cuont", "rename"),
        ({}, "name", "add the missing key"),
        ({"name": 1}, "name", "correct"),
        ({"name": "a", "count": "3"}, "count", "correct"),
        ({"name": "a", "count": 3.5}, "count", "correct"),
        ({"name": "a", "count": True}, "count", "correct"),
        ({"name": "a", "limit": 0}, "limit", "correct"),
        ({"name": "a", "tags": ["x", 2]}, "tags[1]", "correct"),
        ({"name": "a", "parts": {"p": {"weight": "heavy"}}}, "parts.p.weight", "correct"),
        ([], "Example", "correct"),
        (None, "Example", "correct"),
    ],
)
def test_an_error_names_path_value_and_fix(data, path, remedy):
    with pytest.raises(ManifestError) as caught:
        Example.from_data(data)
    assert caught.value.message.startswith(path)
    assert remedy in caught.value.remedy


def test_an_unknown_key_is_answered_with_the_nearest():
    with pytest.raises(ManifestError, match="did you mean 'count'"):
        Example.from_data({"name": "a", "cuont": 3})


def test_the_class_of_the_error_is_the_callers():
    with pytest.raises(ConfigurationError):
        Example.from_data({}, error=ConfigurationError)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_numbers_are_refused(value):
    with pytest.raises(ManifestError, match="NaN"):
        Example.from_data({"name": "a", "ratio": value})


@pytest.mark.parametrize("text", ["", "{", '{"name": "a"', b"\xff\xfe", '{"name": "a", "ratio": NaN}'])
def test_text_that_is_no_document(text):
    with pytest.raises(ManifestError):
        Example.from_json(text)


def test_long_values_are_shortened_in_a_message():
    with pytest.raises(ManifestError) as caught:
        Example.from_data({"name": "a", "count": "x" * 500})
    assert len(caught.value.message) < 200


def test_canonical_bytes_are_sorted_compact_and_write_floats_as_text():
    assert Example(name="é", ratio=1.0).canonical_bytes() == (
        '{"count":3,"limit":1,"name":"é","parts":{},"ratio":"float:1.0","tags":[]}'.encode()
    )
    assert Example(name="a", count=2**60).canonical_bytes().count(b'"int:1152921504606846976"') == 1


def test_the_digest_is_of_the_canonical_bytes():
    example = Example(name="a")
    assert example.digest == "sha256:" + hashlib.sha256(example.canonical_bytes()).hexdigest()


examples = st.builds(
    Example,
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    count=st.integers(-(2**62), 2**62),
    ratio=st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),  # -0.0 equals 0.0
    tags=st.lists(st.text("ab", max_size=2), max_size=3).map(tuple),
    parts=st.dictionaries(
        st.text("xy", max_size=2),
        st.builds(Inner, weight=st.floats(-1e300, 1e300).map(lambda value: value + 0.0)),
        max_size=2,
    ),
)


@given(examples)
def test_a_round_trip_through_json_keeps_the_document_and_its_digest(example):
    again = Example.from_json(json.dumps(example.as_data()))
    assert again == example
    assert again.digest == example.digest


@given(examples, examples)
def test_two_documents_are_the_same_exactly_if_their_digests_are(one, other):
    assert (one.as_data() == other.as_data()) == (one.digest == other.digest)


def test_the_order_of_keys_does_not_matter():
    one = Example.from_data({"name": "a", "parts": {"p": {"weight": 1.0}, "q": {"weight": 2.0}}})
    other = Example.from_data({"parts": {"q": {"weight": 2.0}, "p": {"weight": 1.0}}, "name": "a"})
    assert one.digest == other.digest
