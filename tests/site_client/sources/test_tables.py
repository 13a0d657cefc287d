"""The four kinds of tables give the same records, and every way of spoiling one has its own error."""

from __future__ import annotations

import datetime as dt
import gzip
import sqlite3

import numpy as np
import pytest

from federation.errors import (
    ImplausibleValueError,
    MappingError,
    PatientKeyError,
    RecordsUnreadableError,
    UnknownCodeError,
)
from site_client.sources.database import Resources, open_database
from site_client.sources.source import SurveyedSource
from site_client.sources.tables import TableSource
from tests.site_client.small_site import (
    HEADER,
    MAPPING,
    ROWS,
    SECRET,
    TODAY,
    assert_silent,
    contract,
    mapping,
    read,
    source,
    write,
)

CSV = MAPPING["source"]
EXPECTED = {
    "age": [61, 47, 70, 55],
    "chol": [233, np.nan, 180.5, 310],
    "male": [1, 0, 1, 0],
    "pain": [1, 2, 0, 1],
    "stage": [0, 1, 2, np.nan],
    "died": [0, 1, 0, 1],
}


def assert_expected(records):
    assert records.site == "st_mary"
    assert records.patient_keys.tolist() == ["a", "b", "c", "d"]
    assert records.index_dates.tolist()[0] == dt.date(2021, 3, 1)
    for name, column in EXPECTED.items():
        np.testing.assert_array_equal(records.values[name], column, err_msg=name)
        assert records.values[name].dtype == np.float64


def spoilt(row: str = "e,2023-02-01,50,200,m,1,1,0", **changes: str) -> list[str]:
    """The rows and one more, in which some columns differ."""
    cells = dict(zip(HEADER.split(","), row.split(","), strict=True)) | changes
    return [*ROWS, ",".join(cells.values())]


def test_csv(tmp_path):
    write(tmp_path)
    assert_expected(read(tmp_path))
    assert isinstance(source(tmp_path), SurveyedSource)


def test_gzipped_csv(tmp_path):
    (tmp_path / "patients.csv.gz").write_bytes(gzip.compress(write(tmp_path).read_bytes()))
    assert_expected(read(tmp_path, through=mapping(source={"kind": "csv", "path": "patients.csv.gz"})))


def test_csv_without_header(tmp_path):
    write(tmp_path, header="")
    names = HEADER.split(",")
    assert_expected(read(tmp_path, through=mapping(source=CSV | {"header": False, "column_names": names})))


def test_csv_of_another_country(tmp_path):
    rows = ["ä;01.03.2021;61,0;5,2;m;1;1;0", " b ;02.03.2021;47;n. b.;f;2;2;1"]
    write(tmp_path, rows, header=HEADER.replace(",", ";").replace("sex", "Größe"), encoding="cp1252")
    through = mapping(
        source=CSV
        | {"delimiter": ";", "encoding": "cp1252", "decimal_separator": ",", "date_format": "%d.%m.%Y", "null_values": ["n. b."]},
        variables={
            "male": {"column": "Größe", "codes": {"m": 1, "f": 0}},
            "chol": {"column": "chol", "unit": "mmol/L", "molar_mass": "386.65 g/mol"},
        },
    )  # fmt: skip
    records = read(tmp_path, through=through)
    assert records.patient_keys.tolist() == ["ä", "b"]
    np.testing.assert_allclose(records.values["chol"], [201.058, np.nan])
    assert records.index_dates.tolist() == [dt.date(2021, 3, 1), dt.date(2021, 3, 2)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16", "cp1252", "iso8859-15", "mac-roman"])
def test_encodings(tmp_path, encoding):
    write(tmp_path, ["ü" + row[1:] for row in ROWS], encoding=encoding)
    records = read(tmp_path, through=mapping(source=CSV | {"encoding": encoding}))
    assert set(records.patient_keys) == {"ü"}
    np.testing.assert_array_equal(records.values["chol"], EXPECTED["chol"])


def test_parquet(tmp_path):
    path = write(tmp_path)
    with open_database(Resources(), site="x") as database:
        database.run(f"COPY (SELECT * FROM read_csv('{path}')) TO '{tmp_path / 'patients.parquet'}' (FORMAT parquet)")
    assert_expected(read(tmp_path, through=mapping(source={"kind": "parquet", "path": "patients.parquet"})))


@pytest.fixture
def sqlite_file(tmp_path):
    with sqlite3.connect(tmp_path / "patients.db") as connection:
        connection.execute(
            "CREATE TABLE visits (pid TEXT, date TEXT, age REAL, chol, sex, pain, stage INTEGER, died INTEGER, x BLOB)"
        )
        for row in ROWS:
            cells = [cell or None for cell in row.split(",")]
            connection.execute("INSERT INTO visits VALUES (?, ?, ?, ?, ?, ?, ?, ?, x'ff')", cells)
    connection.close()
    return tmp_path


def test_sqlite(sqlite_file):
    through = mapping(source={"kind": "sqlite", "path": "patients.db", "table": "visits"})
    assert_expected(read(sqlite_file, through=through))


def test_a_query_stands_between_the_table_and_the_columns(sqlite_file):
    query = "SELECT * EXCLUDE (age), CAST(age AS DOUBLE) + 1 AS older FROM source WHERE pid <> 'a' ORDER BY pid DESC;"
    for spec in ({"kind": "sqlite", "path": "patients.db", "table": "visits"}, CSV):
        write(sqlite_file)
        through = mapping(source=spec, query=query, variables={"age": {"column": "older", "unit": "year"}})
        records = read(sqlite_file, through=through)
        assert records.patient_keys.tolist() == ["d", "c", "b"]
        assert records.values["age"].tolist() == [56, 71, 48]


def test_a_query_reads_no_other_file(tmp_path):
    write(tmp_path)
    (tmp_path / "other.csv").write_text(f"pid\n{SECRET}\n")
    through = mapping(query=f"SELECT source.*, o.pid AS other FROM source, read_csv('{tmp_path / 'other.csv'}') AS o")
    with pytest.raises(RecordsUnreadableError):
        read(tmp_path, through=through)


def test_rows_are_numbered_where_each_is_another_patient(tmp_path):
    write(tmp_path)
    records = read(tmp_path, through=mapping(patient_key={"row_number": True}))
    assert records.patient_keys.tolist() == ["1", "2", "3", "4"]


def test_units_scale_and_codes_of_numbers(tmp_path):
    write(tmp_path, spoilt(age="720", chol=">700"))
    through = mapping(
        variables={
            "age": {"column": "age", "scale": 12.0, "unit": "month"},
            "chol": {"column": "chol", "unit": "g/L", "scale": 0.01, "codes": {">700": 700}},
        }
    )
    records = read(tmp_path, through=through)
    assert records.values["age"].tolist() == [61, 47, 70, 55, 720]
    np.testing.assert_allclose(records.values["chol"], [233, np.nan, 180.5, 310, 700])


@pytest.mark.parametrize("text", ["0", "0.0", "0.00", "-9", "-9.0", "NA", " NA "])
def test_what_means_missing(tmp_path, text):
    write(tmp_path, spoilt(chol=text))
    through = mapping(variables={"chol": {"column": "chol", "unit": "mg/dL", "missing_codes": [0, -9.0, "NA"]}})
    assert np.isnan(read(tmp_path, through=through).values["chol"][-1])


def test_a_code_that_means_missing(tmp_path):
    write(tmp_path, spoilt(sex="u"))
    assert np.isnan(read(tmp_path).values["male"][-1])


SPOILT_VALUES = [
    ({"sex": SECRET}, UnknownCodeError, "male", "codes"),
    ({"pain": SECRET}, UnknownCodeError, "pain", "codes"),
    ({"died": "2"}, UnknownCodeError, "died", "codes"),
    ({"chol": SECRET}, ImplausibleValueError, "chol", "missing_codes"),
    ({"chol": "1_000"}, ImplausibleValueError, "chol", "missing_codes"),
    ({"chol": "NaN"}, ImplausibleValueError, "chol", "missing_codes"),
    ({"chol": "inf"}, ImplausibleValueError, "chol", "missing_codes"),
    ({"chol": "-Infinity"}, ImplausibleValueError, "chol", "missing_codes"),
    ({"chol": "1e400"}, ImplausibleValueError, "chol", "missing_codes"),
    ({"age": "50.5"}, ImplausibleValueError, "age", "scale"),
    ({"pid": ""}, PatientKeyError, "patient", "query"),
    ({"pid": SECRET * 100}, PatientKeyError, "patient", "query"),
    ({"date": SECRET}, ImplausibleValueError, "admitted", "format"),
    ({"date": "31.12.2021"}, ImplausibleValueError, "admitted", "format"),
    ({"date": "2024-06-02"}, ImplausibleValueError, "admitted", "clock"),
    ({"date": "2999-01-01"}, ImplausibleValueError, "admitted", "clock"),
    ({"date": "2019-12-31"}, ImplausibleValueError, "admitted", "window"),
]


@pytest.mark.parametrize(("changes", "kind", "variable", "remedy"), SPOILT_VALUES)
def test_a_spoilt_value_names_site_variable_and_remedy_but_no_value(tmp_path, changes, kind, variable, remedy):
    write(tmp_path, spoilt(**changes))
    with pytest.raises(kind) as caught:
        read(tmp_path)
    assert type(caught.value) is kind
    assert caught.value.message.startswith(f"site st_mary · variable {variable}: expected")
    assert " 1 " in caught.value.message
    assert remedy in caught.value.remedy
    assert_silent(caught.value)


def test_today_is_not_in_the_future_and_neither_is_the_first_day_too_early(tmp_path):
    write(tmp_path, [*spoilt(date=TODAY.isoformat()), "f,2020-01-01,50,200,m,1,1,0"])
    assert len(read(tmp_path)) == 6


def test_a_later_end_of_the_window_is_kept_too(tmp_path):
    write(tmp_path, spoilt(date="2023-06-01"))
    with pytest.raises(ImplausibleValueError, match="1 later"):
        read(tmp_path, of=contract(index_date={"name": "admitted", "earliest": "2020-01-01", "latest": "2023-05-31"}))


def test_a_survey_tells_everything_at_once_and_counts(tmp_path):
    write(tmp_path, [*spoilt(sex=SECRET, chol=SECRET, date="2999-01-01"), "f,2021-01-01,50,nan,xx,1,1,0"])
    found = source(tmp_path).survey(contract(), today=TODAY)
    assert [(type(problem), problem.variable) for problem in found.problems] == [
        (ImplausibleValueError, "admitted"),
        (ImplausibleValueError, "chol"),
        (ImplausibleValueError, "chol"),
        (UnknownCodeError, "male"),
    ]
    assert found.unreadable_values["chol"] == 2
    assert found.unknown_codes["male"] == 2
    assert np.isnan(found.records.values["male"][-1])
    assert len(found.records) == 6


def test_an_unmentioned_unit_is_noticed(tmp_path):
    write(tmp_path)
    found = source(tmp_path, through=mapping(variables={"chol": {"column": "chol"}})).survey(contract(), today=TODAY)
    assert found.notices == ("chol: the mapping gives no unit; the contract's unit, mg/dL, is assumed",)


def test_a_column_that_is_not_there(sqlite_file):
    through = mapping(
        source={"kind": "sqlite", "path": "patients.db", "table": "visits"},
        variables={"age": {"column": "Age", "unit": "year"}},
    )
    with pytest.raises(RecordsUnreadableError, match=r"\['Age'\], got \['pid', 'date', 'age'"):
        read(sqlite_file, through=through)


def test_a_wrong_query_shows_no_value(tmp_path):
    write(tmp_path, spoilt(chol=SECRET))
    with pytest.raises(RecordsUnreadableError) as caught:
        read(tmp_path, through=mapping(query="SELECT * REPLACE (CAST(chol AS DOUBLE) AS chol) FROM source"))
    assert_silent(caught.value)
    with pytest.raises(MappingError, match="one SELECT"):
        read(tmp_path, through=mapping(query="SELECT * FROM source; DROP VIEW source"))
    with pytest.raises(RecordsUnreadableError, match="SQL that does not fit"):
        read(tmp_path, through=mapping(query="SELECT nothing FROM source"))


def test_a_mapping_that_does_not_fit_is_found_before_any_file_is_opened(tmp_path):
    through = mapping(variables={"chol": {"column": "chol", "unit": "kg"}})
    with pytest.raises(MappingError, match="site st_mary · variable chol"):
        read(tmp_path, through=through)
    with pytest.raises(MappingError, match="date format"):
        read(tmp_path, through=mapping(index_date={"column": "date", "format": "%Q"}))


def test_memory_and_temporary_files_are_the_callers_choice(tmp_path):
    write(tmp_path)
    spill = tmp_path / "spill"
    spill.mkdir()
    resources = Resources(memory_limit="100MB", threads=2, temporary_folder=spill)
    assert_expected(TableSource(mapping(), folder=tmp_path, resources=resources).read(contract(), today=TODAY))
    assert list(spill.iterdir()) == []
