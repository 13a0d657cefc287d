"""Every way of spoiling a file has its own error, and none of them shows a value."""

from __future__ import annotations

import gzip

import pytest

from federation.errors import (
    CohortTooSmallError,
    RecordsUnreadableError,
)
from tests.site_client.small_site import HEADER, MAPPING, ROWS, SECRET, assert_silent, mapping, read, write

CSV = MAPPING["source"]

SPOILT_FILES = [
    (b"", CohortTooSmallError, "empty file"),
    (b"\x00\xff\xfe\x01" * 50, RecordsUnreadableError, "not utf-8"),
    (f"{HEADER}\n{SECRET}\n".encode(), RecordsUnreadableError, "1 instead of 8 columns at line 2"),
    (f"{HEADER}\n{ROWS[0]},{SECRET}\n".encode(), RecordsUnreadableError, "9 instead of 8 columns at line 2"),
    (f'{HEADER}\n{ROWS[0]}\n"{SECRET},\n\n'.encode(), RecordsUnreadableError, "line 3"),
    (f"{HEADER}\n{ROWS[0]}\n{SECRET}ü{ROWS[1]}\n".encode("latin-1"), RecordsUnreadableError, "bytes that are not utf-8"),
    (
        f"{HEADER}\n".encode() + f"{ROWS[0]}\n".encode() * 1999 + f"{SECRET}ü{ROWS[1]}\n".encode("latin-1"),
        RecordsUnreadableError,
        "another encoding at line 2001",
    ),
    (f"{HEADER};{SECRET}\n".replace(",", ";").encode(), RecordsUnreadableError, "got 1 other column"),
    (f"{SECRET},1,2\n{SECRET},1,2\n".encode(), RecordsUnreadableError, "got 3 other columns"),
    (gzip.compress(f"{HEADER}\n".encode()), RecordsUnreadableError, "bytes that are not utf-8"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind", "told"), SPOILT_FILES, ids=range(len(SPOILT_FILES))
)  # gzip bytes hold the time
def test_a_spoilt_file_names_site_and_remedy_but_no_value(tmp_path, content, kind, told):
    (tmp_path / "patients.csv").write_bytes(content)
    with pytest.raises(kind, match=told) as caught:
        read(tmp_path)
    assert caught.value.message.startswith("site st_mary: expected")
    assert caught.value.remedy
    assert_silent(caught.value)


def test_a_header_alone_is_a_site_without_patients(tmp_path):
    write(tmp_path, [])
    assert len(read(tmp_path)) == 0


def test_a_missing_file(tmp_path):
    with pytest.raises(RecordsUnreadableError, match="got nothing") as caught:
        read(tmp_path)
    assert "relative to the folder of the mapping file" in caught.value.remedy


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "patients.csv").mkdir()
    with pytest.raises(RecordsUnreadableError, match="got a folder"):
        read(tmp_path)


def test_a_path_is_never_a_pattern(tmp_path):
    write(tmp_path).rename(tmp_path / "patients[1].csv")
    with pytest.raises(RecordsUnreadableError, match="a path without any of"):
        read(tmp_path, through=mapping(source=CSV | {"path": "patients[1].csv"}))


@pytest.mark.parametrize(
    ("spec", "content", "told"),
    [
        (
            {"kind": "csv", "path": "x.csv.gz"},
            gzip.compress(f"{HEADER}\n".encode() + ROWS[0].encode() * 9999)[:-20],
            "damaged|EOFError",
        ),
        ({"kind": "parquet", "path": "x.parquet"}, b"PAR1 no", "something else|damaged"),
        ({"kind": "sqlite", "path": "x.db", "table": "t"}, b"SQLite format 3\x00 no", "SQLite"),
        ({"kind": "sqlite", "path": "x.db", "table": "t"}, b"", "table 't'"),
    ],
    ids=["csv", "parquet", "sqlite", "empty sqlite"],
)
def test_damaged_files(tmp_path, spec, content, told):
    (tmp_path / spec["path"]).write_bytes(content)
    with pytest.raises(RecordsUnreadableError, match=told) as caught:
        read(tmp_path, through=mapping(source=spec))
    assert caught.value.remedy
