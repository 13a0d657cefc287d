from __future__ import annotations

import pytest

from federation.errors import RecordsUnreadableError
from site_client.sources import csv_files
from site_client.sources.csv_files import column_names, decoded_rows, is_compressed, may_have_blanks, native_encoding
from site_client.sources.mapping import CsvSource
from tests.site_client.small_site import SECRET


def spec(**changes) -> CsvSource:
    return CsvSource.from_data({"kind": "csv", "path": "x.csv", **changes})


@pytest.fixture
def names_of(tmp_path):
    def names(first_line: str, wanted=("pid", "age"), **changes):
        path = tmp_path / "x.csv"
        path.write_text(first_line + "\n", encoding="utf-8")
        return column_names(spec(**changes), path, wanted, site="st_mary")

    return names


def test_names_come_from_the_first_line(names_of):
    assert names_of('pid,age,"no, te"') == ("pid", "age", "no, te")
    assert names_of("pid\tage", delimiter="\t") == ("pid", "age")


def test_a_file_without_header_has_numbered_or_given_names(names_of):
    assert names_of("1,2", None, header=False) == ("column_1", "column_2")
    assert names_of("1,2", header=False, column_names=["pid", "age"]) == ("pid", "age")
    with pytest.raises(RecordsUnreadableError, match="expected 3 columns, as in column_names, got 2"):
        names_of("1,2", header=False, column_names=["pid", "age", "x"])


def test_columns_that_only_case_tells_apart_get_names_of_their_own(names_of):
    assert names_of("pid,age,note,Note,,") == ("pid", "age", "note", "Note__4", "__5", "__6")
    with pytest.raises(RecordsUnreadableError, match="one column of the name 'age', got 2"):
        names_of("pid,age,AGE")


def test_a_wrong_separator_is_recognised(names_of):
    with pytest.raises(RecordsUnreadableError, match="got 1 other column") as caught:
        names_of("pid;age;x")
    assert "2 of ';'" in caught.value.remedy
    with pytest.raises(RecordsUnreadableError) as caught:
        names_of("pid\tage\tx", delimiter="|")
    assert "2 of tab" in caught.value.remedy
    with pytest.raises(RecordsUnreadableError) as caught:
        names_of("1;2;3", header=False, column_names=["pid", "age", "x"])
    assert "2 of ';'" in caught.value.remedy


def test_an_absent_column_is_told_with_the_header_once_it_has_proved_to_be_one(names_of):
    with pytest.raises(
        RecordsUnreadableError, match=r"\['age'\], got 3 other columns: \['pid', 'agee', 'x'\]"
    ) as caught:
        names_of("pid,agee,x")
    assert "'agee' for 'age'" in caught.value.remedy


def test_a_first_patient_taken_for_a_header_is_not_shown(names_of):
    with pytest.raises(RecordsUnreadableError) as caught:
        names_of(f"{SECRET},53,1")
    assert SECRET not in str(caught.value)
    assert "source.header" in caught.value.remedy
    with pytest.raises(RecordsUnreadableError) as caught:
        names_of(f"{SECRET},53", ("nr", "column_1"), header=False)
    assert SECRET not in str(caught.value)


def test_a_file_without_line_ends_is_not_read_as_a_whole(names_of, monkeypatch):
    monkeypatch.setattr(csv_files, "_LONGEST_LINE", 100)
    with pytest.raises(RecordsUnreadableError, match="text of separated values"):
        names_of("pid,age," + "x" * 200)


@pytest.mark.parametrize(
    ("encoding", "native"),
    [
        ("utf8", "utf-8"),
        ("UTF-8", "utf-8"),
        ("latin-1", "latin-1"),
        ("iso-8859-1", "latin-1"),
        ("utf16", "utf-16"),
        ("cp1252", None),
    ],
)
def test_encodings_that_duckdb_reads_itself(encoding, native):
    assert native_encoding(spec(encoding=encoding)) == native


def test_compression_is_told_by_the_name_unless_it_is_given(tmp_path):
    assert is_compressed(spec(), tmp_path / "x.csv.gz")
    assert not is_compressed(spec(), tmp_path / "x.csv")
    assert is_compressed(spec(compression="gzip"), tmp_path / "x.csv")
    assert not is_compressed(spec(compression="none"), tmp_path / "x.csv.gz")


def rows_of(tmp_path, content: bytes, **changes):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    return list(decoded_rows(spec(encoding="cp1252", **changes), path, 2, site="st_mary"))


def test_python_decodes_what_duckdb_cannot(tmp_path):
    content = 'a,b\r\n€,"x, y"\r\n\r\n?,\r\n'.encode("cp1252")
    assert rows_of(tmp_path, content, null_values=["?"]) == [["€", "x, y"], [None, None]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a,b\n1,2\n" + SECRET.encode() + b"\n", "1 instead of 2 columns at about line 4"),
        (b"a,b\n\x81" + SECRET.encode() + b",1\n", "not cp1252"),
        (b'a,b\n"' + SECRET.encode() + b",1\n", "damaged"),
    ],
)
def test_what_python_cannot_decode_is_told_without_it(tmp_path, content, told):
    with pytest.raises(RecordsUnreadableError, match=told) as caught:
        rows_of(tmp_path, content)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("content", "changes", "expected"),
    [
        (b"pid,the age\n1,2\n", {}, False),
        (b"pid,age\n1, 2\n", {}, True),
        (b"pid,age\n1,2\t\n", {}, True),
        (b"pid,age\r\n1,2\r\n", {}, True),
        (b'pid,age\n1,"2\n"\n', {}, True),
        ("pid,age\n1,\u00a02\n".encode(), {}, True),
        (b"pid,age\n1,2\n", {"encoding": "cp1252"}, True),
        (b"pid,age\n1,2\n", {"encoding": "latin-1"}, False),
        (b"1 ,2\n1,2\n", {"header": False}, True),
        (b"pid,age\n1,2\n", {"compression": "gzip"}, True),
    ],
)
def test_only_bytes_show_that_no_value_has_a_blank_around_it(tmp_path, content, changes, expected):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert may_have_blanks(spec(**changes), path) is expected
