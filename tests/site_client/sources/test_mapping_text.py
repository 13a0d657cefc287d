from __future__ import annotations

import pytest

from federation.errors import MappingError
from site_client.sources.mapping_text import load_mapping_text


def test_words_that_yaml_takes_for_truth_stay_words():
    assert load_mapping_text("{No: 0, yes: 1, on: 2, x: true, y: False}") == {
        "No": 0, "yes": 1, "on": 2, "x": True, "y": False,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a: 1\na: 2", "b: {c: 1, c: 1}", "codes: {1: a, 1: b}"])
def test_no_key_is_given_twice(text):
    with pytest.raises(MappingError, match="once"):
        load_mapping_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "source: {dsn: hunter2}",
        "source: {db_password: hunter2}",
        "source: {path: 'postgresql://me:hunter2@host/db'}",
        'source: {query: "host=db password = hunter2"}',
        "variables: [{note: 'https://hunter2'}]",
    ],
)
def test_secrets_are_refused_and_not_repeated(text):
    with pytest.raises(MappingError, match="address or password") as caught:
        load_mapping_text(text)
    assert "hunter2" not in str(caught.value)
    assert "dsn_environment_variable" in caught.value.remedy


def test_a_column_may_be_called_password_though():
    load_mapping_text("variables: {x: {column: url}}")


def test_nothing_but_plain_data_is_built():
    with pytest.raises(MappingError):
        load_mapping_text("!!python/object/apply:os.system ['true']")
