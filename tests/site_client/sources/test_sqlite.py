from __future__ import annotations

import sqlite3
from decimal import Decimal

import pytest

from federation.errors import RecordsUnreadableError
from site_client.sources.sqlite import as_texts, sqlite_columns, sqlite_rows


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a b?.db"
    with sqlite3.connect(path) as connection:
        connection.execute("""CREATE TABLE "odd "" name" ("a ""b" TEXT, c REAL)""")
        connection.execute("""INSERT INTO "odd "" name" VALUES ('x', 1.5), (NULL, 2)""")
    connection.close()
    return path


def test_names_are_quoted_and_values_are_text(path):
    assert sqlite_columns(path, 'odd " name', site="s") == ('a "b', "c")
    assert list(sqlite_rows(path, 'odd " name', ["c", 'a "b'], site="s")) == [("1.5", "x"), ("2.0", None)]


def test_the_file_is_opened_for_reading_only(path, tmp_path):
    before = path.read_bytes()
    list(sqlite_rows(path, 'odd " name', ["c"], site="s"))
    assert path.read_bytes() == before
    with pytest.raises(RecordsUnreadableError):
        sqlite_columns(tmp_path / "absent.db", "t", site="s")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_no_such_table_or_column(path):
    with pytest.raises(RecordsUnreadableError, match="'visits'"):
        sqlite_columns(path, "visits", site="s")
    with pytest.raises(RecordsUnreadableError, match="OperationalError"):
        list(sqlite_rows(path, "visits", ["a"], site="s"))


def test_values_as_text():
    assert as_texts((None, "a", 1, 1.5, True, b"x", Decimal("1.10"))) == (None, "a", "1", "1.5", "true", "x", "1.10")
