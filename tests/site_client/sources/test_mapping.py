from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import MappingError
from site_client.sources.mapping import SiteMapping, VariableMapping, parse_mapping, read_mapping
from tests.site_client.small_site import MAPPING, contract, mapping


def changed(path: str, value: object) -> dict:
    data = copy.deepcopy(MAPPING)
    place = data
    *parents, last = path.split(".")
    for part in parents:
        place = place[part]
    place[last] = value
    return data


def test_a_mapping_is_read_from_yaml(tmp_path):
    path = tmp_path / "mapping.yaml"
    path.write_text(yaml.safe_dump(MAPPING), encoding="utf-8")
    assert read_mapping(path) == mapping()


codes = st.one_of(st.booleans(), st.integers(-(2**50), 2**50), st.floats(-1e9, 1e9), st.text("ab1.?", max_size=4))
variable_mappings = st.builds(
    VariableMapping,
    column=st.text("ABc d", min_size=1, max_size=5),
    unit=st.none() | st.just("mg/dL"),
    scale=st.floats(0.1, 10),
    codes=st.none() | st.dictionaries(st.text("ab1.", max_size=3), st.none() | codes, max_size=4),
    missing_codes=st.lists(codes, max_size=3).map(tuple),
)


@given(st.dictionaries(st.sampled_from(["age", "chol", "died"]), variable_mappings, min_size=1))
def test_a_round_trip_through_yaml_keeps_the_mapping(variables):
    whole = SiteMapping.model_construct(**(dict(mapping()) | {"variables": variables}))
    text = yaml.safe_dump(whole.as_data(), allow_unicode=True)
    again = parse_mapping(text)
    assert again.as_data() == whole.as_data()
    assert again.digest == whole.digest


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("site", "St. Mary", "site"),
        ("source.kind", "excel", "source"),
        ("source.delimiter", ";;", "delimiter"),
        ("source.encoding", "utf-9", "encoding such as"),
        ("source.column_names", ["a"], "header is false"),
        ("source.separator", ";", "separator"),
        ("patient_key", {}, "either column or row_number"),
        ("patient_key", {"column": "a", "row_number": True}, "either column or row_number"),
        ("variables", {}, "variables"),
        ("variables.age", {"colum": "age"}, "did you mean 'column'"),
        ("variables.age.scale", 0, "scale other than 0"),
        ("variables.Age", {"column": "age"}, "lower-case"),
        ("source", {"kind": "postgresql", "dsn_environment_variable": "X"}, "either table or query"),
        (
            "source",
            {"kind": "csv", "path": "x", "header": False, "column_names": ["a", "A"]},
            "upper and lower case",
        ),
    ],
)
def test_a_wrong_mapping_is_told_with_its_place(path, value, told):
    with pytest.raises(MappingError) as caught:
        parse_mapping(yaml.safe_dump(changed(path, value)))
    assert told in caught.value.message
    assert caught.value.exit_code == 22


@pytest.mark.parametrize("text", ["", "- 1", "site: [", "site: a: b", "\tsite: a", "? [a]\n: b"])
def test_text_that_is_no_mapping(text):
    with pytest.raises(MappingError):
        parse_mapping(text)


@pytest.mark.parametrize("content", [None, b"site: \xff\xfe"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "mapping.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MappingError, match="readable mapping file"):
        read_mapping(path)


def test_every_variable_of_the_contract_must_be_mapped():
    data = changed("variables.chols", {"column": "chol"})
    del data["variables"]["chol"]
    with pytest.raises(MappingError, match=r"none for \['chol'\]") as caught:
        SiteMapping.from_data(data).check_against(contract())
    assert caught.value.variable == "chol"
    assert "'chols' may be meant as 'chol'" in caught.value.remedy


def test_an_index_date_of_the_contract_must_be_mapped():
    with pytest.raises(MappingError, match="index date"):
        mapping(index_date=None).check_against(contract())
    mapping(index_date=None).check_against(contract(index_date=None))


def test_only_the_columns_that_the_contract_needs_are_named():
    assert mapping(variables={"unused": {"column": "note"}}).columns(contract()) == (
        "pid", "age", "chol", "sex", "pain", "stage", "died", "date",
    )  # fmt: skip
